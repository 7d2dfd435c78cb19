;; Every kind of control flow, over the bytes of its input.
(table 4 funcref) (elem (i32.const 0) $a $b $c $d)
(func $a (param i32) (result i64) (i64.extend_i32_u (local.get 0)))
(func $b (param i32) (result i64)
  (i64.div_u (i64.const 1000000007) (i64.extend_i32_u (i32.or (local.get 0) (i32.const 1)))))
(func $c (param i32) (result i64)
  (if (result i64) (i32.lt_u (local.get 0) (i32.const 32))
    (then (i64.const 1))
    (else (i64.add (i64.const 3) (call $c (i32.div_u (local.get 0) (i32.const 2)))))))
(func $d (param i32) (result i64)
  (block $x
    (block $y
      (block $z (br_table $x $y $z (i32.rem_u (local.get 0) (i32.const 5))))
      (return (i64.const 77)))
    (return (i64.const 88)))
  (i64.const 99))
(func (export "admission") (param i32 i32) (result i64)
  (local $at i32) (local $sum i64) (local $byte i32)
  (block $done
    (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get 1)))
      (local.set $byte (i32.load8_u (i32.add (local.get 0) (local.get $at))))
      (local.set $sum
        (i64.add
          (i64.mul (local.get $sum) (i64.const 6364136223846793005))
          (call_indirect (param i32) (result i64)
            (local.get $byte)
            (i32.and (local.get $byte) (i32.const 3)))))
      (if (i64.lt_s (local.get $sum) (i64.const 0))
        (then (local.set $sum (i64.rotl (local.get $sum) (i64.const 13))))
        (else (memory.fill (i32.const 512) (local.get $byte) (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
  (i64.store (i32.const 0) (local.get $sum))
  (i64.const 8))
