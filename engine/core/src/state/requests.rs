//! Exactly-once records: (actor, request id) to the stored response, with the times they expire.
