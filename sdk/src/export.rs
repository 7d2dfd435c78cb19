//! The macro that makes a policy a module.

/// Makes the crate a policy module: `export!(MyPolicy: admission, transition);`.
///
/// In a guest it emits the ABI's exports: the marker, the allocation function, one function per
/// hook and `check_config`. Natively it only checks that the list equals
/// [`Policy::HOOKS`](crate::Policy::HOOKS).
#[macro_export]
macro_rules! export {
    ($policy:ty : $($hook:ident),+ $(,)?) => {
        const _: () = ::core::assert!(
            $crate::HookSet::of(&[$($crate::__hook!($hook)),+]).bits()
                == <$policy as $crate::Policy>::HOOKS.bits(),
            "the hooks in `export!` must be those of `Policy::HOOKS`"
        );

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "An export of a module is a symbol with a fixed name.")]
        const _: () = {
            /// Marks the ABI version; never called.
            #[unsafe(no_mangle)]
            extern "C" fn raft3d_abi_1() {}

            /// A place for `len` bytes of input.
            #[unsafe(no_mangle)]
            extern "C" fn raft3d_alloc(len: u32) -> u32 {
                $crate::guest::alloc(len)
            }

            /// For authors: where the message of a panic stands.
            #[unsafe(no_mangle)]
            extern "C" fn raft3d_panic() -> u64 {
                $crate::guest::last_panic()
            }

            $(
                #[unsafe(no_mangle)]
                extern "C" fn $hook(ptr: u32, len: u32) -> u64 {
                    $crate::guest::$hook::<$policy>(ptr, len)
                }
            )+

            #[unsafe(no_mangle)]
            extern "C" fn check_config(ptr: u32, len: u32) -> u64 {
                $crate::guest::check_config::<$policy>(ptr, len)
            }
        };
    };
}

/// The hook of that name.
#[doc(hidden)]
#[macro_export]
macro_rules! __hook {
    (admission) => {
        $crate::Hook::Admission
    };
    (transition) => {
        $crate::Hook::Transition
    };
    (deduction) => {
        $crate::Hook::Deduction
    };
}
