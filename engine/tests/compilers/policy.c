/* A policy in C against sdk/ABI.md: it lets in no job that is heavier than `max_mg` milligrams.
 * README.md says how it is built. */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(name), used))
#define DEPTH_MAX 32
#define COPY_BYTES 512

static const u8 ALLOW[] = {0xa0};
/* {0: {0: 1, 1: "too_heavy", 2: "The job is too heavy.", 3: "/print_weight_in_grams"}} */
static const u8 DENY[] = "\xa1\x00\xa4\x00\x01\x01\x69too_heavy\x02\x75The job is too heavy."
                         "\x03\x76/print_weight_in_grams";
/* {0: "must be a map with max_mg alone", 1: ""} */
static const u8 BAD_CONFIG[] = "\xa2\x00\x78\x1fmust be a map with max_mg alone\x01\x60";

/* Every call finds memory as it was: nothing is ever freed. */
static u8 heap[128 * 1024];
static u32 heap_used;

typedef struct {
    const u8 *at;
    const u8 *end;
    int is_bad;
} Reader;

typedef struct {
    u8 major;
    u64 value;
} Head;

static Head head(Reader *r) {
    Head read = {0xff, 0};
    if (r->at == r->end) {
        r->is_bad = 1;
        return read;
    }
    u8 first = *r->at++;
    u32 bytes = 0;
    read.value = first & 31;
    if (read.value >= 24 && read.value < 28) {
        bytes = 1u << (read.value - 24);
        read.value = 0;
    } else if (read.value >= 28) {
        r->is_bad = 1;
        return read;
    }
    if ((u64)(r->end - r->at) < bytes) {
        r->is_bad = 1;
        return read;
    }
    while (bytes-- > 0)
        read.value = read.value << 8 | *r->at++;
    read.major = first >> 5;
    return read;
}

static const u8 *bytes(Reader *r, u64 count) {
    const u8 *from = r->at;
    if ((u64)(r->end - r->at) < count) {
        r->is_bad = 1;
        return from;
    }
    r->at += count;
    return from;
}

static void skip(Reader *r, u32 depth) {
    Head item = head(r);
    if (r->is_bad || depth == DEPTH_MAX) {
        r->is_bad = 1;
        return;
    }
    switch (item.major) {
    case 0:
    case 1:
    case 7:
        return;
    case 2:
    case 3:
        bytes(r, item.value);
        return;
    case 4:
    case 5:
        for (u64 left = item.value << (item.major - 4); left > 0 && !r->is_bad; left--)
            skip(r, depth + 1);
        return;
    default:
        r->is_bad = 1;
    }
}

/* The value of `key` in the map that comes next; is_bad if it has none. */
static Reader find(Reader r, u64 key) {
    Head map = head(&r);
    if (map.major != 5)
        r.is_bad = 1;
    for (u64 left = map.value; left > 0 && !r.is_bad; left--) {
        Head known = head(&r);
        if (known.major == 0 && known.value == key)
            return r;
        skip(&r, 0);
    }
    r.is_bad = 1;
    return r;
}

/* `max_mg` of a configuration. It is read from a copy on the stack. */
static u64 max_mg(Reader config) {
    u8 copy[COPY_BYTES];
    u64 length = config.end - config.at;
    static const char name[] = "max_mg";
    if (length > COPY_BYTES)
        return 0;
    for (u64 at = 0; at < length; at++)
        ((volatile u8 *)copy)[at] = config.at[at];
    Reader r = {copy, copy + length, 0};
    Head map = head(&r), key = head(&r);
    if (map.major != 5 || map.value != 1 || key.major != 3 || key.value != sizeof name - 1)
        return 0;
    const u8 *given = bytes(&r, key.value);
    for (u32 at = 0; !r.is_bad && at < key.value; at++)
        r.is_bad = given[at] != name[at];
    Head most = head(&r);
    return r.is_bad || most.major != 0 || r.at != r.end ? 0 : most.value;
}

static u64 answer(const u8 *bytes, u32 length) {
    return (u64)(u32)bytes << 32 | length;
}

EXPORT("raft3d_abi_1") void raft3d_abi_1(void) {}

EXPORT("raft3d_alloc") u8 *raft3d_alloc(u32 length) {
    u32 at = heap_used;
    if (length > sizeof heap - at)
        __builtin_trap();
    heap_used = (at + length + 7) & ~7u;
    return heap + at;
}

EXPORT("check_config") u64 check_config(const u8 *at, u32 length) {
    Reader config = {at, at + length, 0};
    return max_mg(config) > 0 ? answer(ALLOW, sizeof ALLOW)
                              : answer(BAD_CONFIG, sizeof BAD_CONFIG - 1);
}

EXPORT("admission") u64 admission(const u8 *at, u32 length) {
    Reader call = {at, at + length, 0};
    Reader weight = find(find(find(call, 0), 2), 4);
    Reader config = find(call, 1);
    Head mg = head(&weight), given = head(&config);
    if (weight.is_bad || config.is_bad || mg.major != 0 || given.major != 2)
        __builtin_trap();
    config.end = config.at + given.value;
    return mg.value > max_mg(config) ? answer(DENY, sizeof DENY - 1)
                                     : answer(ALLOW, sizeof ALLOW);
}
