;; Takes all the memory there is and answers how many pages that were.
(func (export "admission") (param i32 i32) (result i64)
  (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
  (i32.store (i32.const 0) (memory.size))
  (i64.const 4))
