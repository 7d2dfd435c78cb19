#!/bin/sh
# Builds policy.{c,zig,d,ts,rs} with the compilers that are here, each with what its defaults make of
# a module without an entry point, and adds the manifest. Without one of them its module stays as it
# is checked in. Run it in this folder; set CLANG, ZIG, LDC or ASC to other commands.
set -eu
CLANG=${CLANG:-clang}
ZIG=${ZIG:-python3 -m ziglang}
LDC=${LDC:-ldc2}
ASC=${ASC:-asc}
OBJCOPY=${OBJCOPY:-llvm-objcopy}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# {0: 1, 1: "weight-limit", 2: "1.0.0", 3: "Lets in no job …", 4: 1 (admission)}: section 7.
printf '\245\000\001\001\154weight-limit\002\1451.0.0\003\170\065%s\004\001' \
    'Lets in no job that is heavier than max_mg milligrams' > "$work/manifest"

finish() {
    "$OBJCOPY" --strip-all --add-section=raft3d:manifest="$work/manifest" "$work/$1" "$1"
    echo "$1: $(wc -c < "$1") bytes"
}
has() {
    command -v "${1%% *}" > /dev/null || { echo "no $1 here"; return 1; }
}

if has "$CLANG"; then
    # A shadow stack of 64 KiB; on top of the data, which is where wasm-ld puts it unless told.
    $CLANG --target=wasm32-unknown-unknown -nostdlib -Wl,--no-entry -o "$work/clang.wasm" policy.c
    finish clang.wasm
    # 1 MiB in front of the data, as rustc gives.
    $CLANG --target=wasm32-unknown-unknown -O2 -nostdlib -Wl,--no-entry,--stack-first \
        -Wl,-z,stack-size=1048576 -o "$work/clang-1mib.wasm" policy.c
    finish clang-1mib.wasm
fi
if has "$ZIG"; then
    for mode in Debug ReleaseSafe ReleaseSmall; do
        $ZIG build-exe -target wasm32-freestanding -O "$mode" -fstrip -fno-entry -rdynamic \
            --cache-dir "$work/cache" -femit-bin="$work/zig-$mode.wasm" policy.zig
        finish "zig-$mode.wasm"
    done
fi
if has "$LDC"; then
    $LDC -mtriple=wasm32-unknown-unknown-wasm -betterC -L--no-entry -of="$work/ldc.wasm" policy.d
    finish ldc.wasm
fi
if has "$ASC"; then
    # Without these it imports a function for its assertions, and has a start function.
    $ASC policy.ts --runtime stub --use abort= --exportStart _initialize -o "$work/asc.wasm"
    finish asc.wasm
fi
