//! A policy in Zig against sdk/ABI.md: it lets in no job that is heavier than `max_mg` milligrams.
//! README.md says how it is built.

const allow = "\xa0";
// {0: {0: 1, 1: "too_heavy", 2: "The job is too heavy.", 3: "/print_weight_in_grams"}}
const deny = "\xa1\x00\xa4\x00\x01\x01\x69too_heavy\x02\x75The job is too heavy." ++
    "\x03\x76/print_weight_in_grams";
// {0: "must be a map with max_mg alone", 1: ""}
const bad_config = "\xa2\x00\x78\x1fmust be a map with max_mg alone\x01\x60";

const depth_max = 32;
const Bad = error{Bad};

/// Every call finds memory as it was: nothing is ever freed.
var heap: [128 * 1024]u8 = undefined;
var heap_used: usize = 0;

const Head = struct { major: u3, value: u64 };

const Reader = struct {
    bytes: []const u8,
    at: usize = 0,

    fn take(self: *Reader, count: u64) Bad![]const u8 {
        if (self.bytes.len - self.at < count) return error.Bad;
        const from = self.at;
        self.at += @intCast(count);
        return self.bytes[from..self.at];
    }

    fn head(self: *Reader) Bad!Head {
        const first = (try self.take(1))[0];
        const low = first & 31;
        var value: u64 = low;
        if (low >= 24) {
            if (low >= 28) return error.Bad;
            value = 0;
            const count = @as(u64, 1) << @intCast(low - 24);
            for (try self.take(count)) |byte| value = value << 8 | byte;
        }
        return .{ .major = @intCast(first >> 5), .value = value };
    }

    fn skip(self: *Reader, depth: u32) Bad!void {
        const item = try self.head();
        if (depth == depth_max) return error.Bad;
        switch (item.major) {
            0, 1, 7 => {},
            2, 3 => _ = try self.take(item.value),
            4, 5 => {
                if (item.value > self.bytes.len) return error.Bad;
                var left = item.value * (@as(u64, item.major) - 3);
                while (left > 0) : (left -= 1) try self.skip(depth + 1);
            },
            else => return error.Bad,
        }
    }

    /// The value of `key` in the map that comes next.
    fn find(self: Reader, key: u64) Bad!Reader {
        var reader = self;
        const map = try reader.head();
        if (map.major != 5) return error.Bad;
        var left = map.value;
        while (left > 0) : (left -= 1) {
            const known = try reader.head();
            if (known.major == 0 and known.value == key) return reader;
            try reader.skip(0);
        }
        return error.Bad;
    }
};

/// `max_mg` of a configuration. It is read from a copy on the stack.
fn maxMg(config: []const u8) Bad!u64 {
    var copy: [512]u8 = undefined;
    if (config.len > copy.len) return error.Bad;
    for (config, 0..) |byte, at| copy[at] = byte;
    var reader = Reader{ .bytes = copy[0..config.len] };
    const map = try reader.head();
    const key = try reader.head();
    if (map.major != 5 or map.value != 1 or key.major != 3) return error.Bad;
    const name = "max_mg";
    const given = try reader.take(key.value);
    if (given.len != name.len) return error.Bad;
    for (given, name) |a, b| if (a != b) return error.Bad;
    const most = try reader.head();
    if (most.major != 0 or most.value == 0 or reader.at != config.len) return error.Bad;
    return most.value;
}

fn answer(bytes: []const u8) u64 {
    return @as(u64, @intFromPtr(bytes.ptr)) << 32 | bytes.len;
}

export fn raft3d_abi_1() void {}

export fn raft3d_alloc(length: usize) [*]u8 {
    if (length > heap.len - heap_used) @trap();
    const at = heap_used;
    heap_used = (at + length + 7) & ~@as(usize, 7);
    return heap[at..].ptr;
}

export fn check_config(at: [*]const u8, length: usize) u64 {
    _ = maxMg(at[0..length]) catch return answer(bad_config);
    return answer(allow);
}

fn decide(input: []const u8) Bad![]const u8 {
    const call = Reader{ .bytes = input };
    var weight = try (try (try call.find(0)).find(2)).find(4);
    var config = try call.find(1);
    const mg = try weight.head();
    const given = try config.head();
    if (mg.major != 0 or given.major != 2) return error.Bad;
    return if (mg.value > try maxMg(try config.take(given.value))) deny else allow;
}

export fn admission(at: [*]const u8, length: usize) u64 {
    return answer(decide(at[0..length]) catch @trap());
}
