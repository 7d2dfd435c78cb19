//! Real processes under faults: kills, cuts, bad disks, wrong clocks.
