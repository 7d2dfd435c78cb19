// A policy in D (BetterC) against sdk/ABI.md: it lets in no job that is heavier than `max_mg`
// milligrams. README.md says how it is built.
module policy;

extern (C):
@nogc nothrow:

immutable ubyte[1] allow = [0xa0];
// {0: {0: 1, 1: "too_heavy", 2: "The job is too heavy.", 3: "/print_weight_in_grams"}}
immutable string deny = "\xa1\x00\xa4\x00\x01\x01\x69too_heavy\x02\x75The job is too heavy."
    ~ "\x03\x76/print_weight_in_grams";
// {0: "must be a map with max_mg alone", 1: ""}
immutable string badConfig = "\xa2\x00\x78\x1fmust be a map with max_mg alone\x01\x60";

enum depthMax = 32;

// Every call finds memory as it was: nothing is ever freed.
__gshared ubyte[128 * 1024] heap;
__gshared uint heapUsed;

struct Head
{
    ubyte major = 0xff;
    ulong value;
}

struct Reader
{
    const(ubyte)* at;
    const(ubyte)* end;
    bool isBad;

extern (D):
@nogc nothrow:
    const(ubyte)* take(ulong count)
    {
        auto from = at;
        if (cast(ulong)(end - at) < count)
            isBad = true;
        else
            at += cast(uint) count;
        return from;
    }

    Head head()
    {
        Head read;
        auto first = take(1);
        if (isBad)
            return read;
        read.value = *first & 31;
        if (read.value >= 28)
            isBad = true;
        else if (read.value >= 24)
        {
            uint count = 1u << cast(uint)(read.value - 24);
            auto from = take(count);
            read.value = 0;
            for (uint place = 0; !isBad && place < count; place++)
                read.value = read.value << 8 | from[place];
        }
        read.major = *first >> 5;
        return read;
    }

    void skip(uint depth)
    {
        Head item = head();
        if (isBad || depth == depthMax || item.major == 6)
            isBad = true;
        else if (item.major == 2 || item.major == 3)
            take(item.value);
        else if (item.major == 4 || item.major == 5)
            for (ulong left = item.value << (item.major - 4); left > 0 && !isBad; left--)
                skip(depth + 1);
    }

    // The value of `key` in the map that comes next; isBad if it has none.
    Reader find(ulong key)
    {
        Reader r = this;
        Head map = r.head();
        if (map.major != 5)
            r.isBad = true;
        for (ulong left = map.value; left > 0 && !r.isBad; left--)
        {
            Head known = r.head();
            if (known.major == 0 && known.value == key)
                return r;
            r.skip(0);
        }
        r.isBad = true;
        return r;
    }
}

// `max_mg` of a configuration; 0 if it has none.
extern (D) ulong maxMg(Reader config)
{
    static immutable string name = "max_mg";
    Head map = config.head(), key = config.head();
    if (map.major != 5 || map.value != 1 || key.major != 3 || key.value != name.length)
        return 0;
    auto given = config.take(key.value);
    for (uint at = 0; !config.isBad && at < name.length; at++)
        config.isBad = given[at] != name.ptr[at];
    Head most = config.head();
    return config.isBad || most.major != 0 || config.at != config.end ? 0 : most.value;
}

extern (D) ulong answer(const(void)* bytes, size_t length)
{
    return cast(ulong) cast(size_t) bytes << 32 | length;
}

export void raft3d_abi_1()
{
}

export ubyte* raft3d_alloc(uint length)
{
    import ldc.intrinsics : llvm_trap;

    uint at = heapUsed;
    if (length > heap.length - at)
        llvm_trap();
    heapUsed = (at + length + 7) & ~7u;
    return heap.ptr + at;
}

export ulong check_config(const(ubyte)* at, uint length)
{
    auto config = Reader(at, at + length);
    return maxMg(config) > 0 ? answer(allow.ptr, 1) : answer(badConfig.ptr, badConfig.length);
}

export ulong admission(const(ubyte)* at, uint length)
{
    import ldc.intrinsics : llvm_trap;

    auto call = Reader(at, at + length);
    auto weight = call.find(0).find(2).find(4);
    auto config = call.find(1);
    Head mg = weight.head(), given = config.head();
    if (weight.isBad || config.isBad || mg.major != 0 || given.major != 2)
        llvm_trap();
    config.end = config.at + cast(uint) given.value;
    return mg.value > maxMg(config) ? answer(deny.ptr, deny.length) : answer(allow.ptr, 1);
}
