//! Bodies of answers as facts.

use raft3d_checkers::history::{DecisionFacts, FilamentFacts, JobFacts, PrinterFacts};
use serde_json::Value;

pub(super) fn printer(body: &Value) -> Option<PrinterFacts> {
    let id = text(body, "id")?;
    Some(PrinterFacts { id })
}

pub(super) fn filament(body: &Value) -> Option<FilamentFacts> {
    Some(FilamentFacts {
        id: text(body, "id")?,
        total_mg: mg(body, "total_weight_in_grams")?,
        remaining_mg: mg(body, "remaining_weight_in_grams")?,
        reserved_mg: mg(body, "reserved_weight_in_grams")?,
    })
}

pub(super) fn job(body: &Value) -> Option<JobFacts> {
    Some(JobFacts {
        id: text(body, "id")?,
        printer: text(body, "printer_id")?,
        filament: text(body, "filament_id")?,
        weight_mg: mg(body, "print_weight_in_grams")?,
        status: text(body, "status")?,
        priority: i32::try_from(body["priority"].as_i64()?).ok()?,
        deducted_mg: mg(body, "deducted_weight_in_grams")?,
        tag: text(body, "filepath")?,
        revision: body["revision"].as_u64()?,
        stamps_ms: Some((
            milliseconds(body["created_at"].as_str()?)?,
            milliseconds(body["updated_at"].as_str()?)?,
        )),
    })
}

pub(super) fn decision(body: &Value) -> Option<DecisionFacts> {
    let enforced = body["decisions"].as_array()?.iter();
    let enforced = enforced.filter(|said| said["mode"] == "enforce");
    let verdicts: Vec<&Value> = enforced.map(|said| &said["verdict"]).collect();
    let first = |kinds: &[&str]| {
        let mut found = verdicts.iter();
        found.find(|verdict| kinds.iter().any(|kind| verdict["kind"] == *kind))
    };
    Some(DecisionFacts {
        revision: body["revision"].as_u64()?,
        epoch: u32::try_from(body["engine_epoch"].as_u64()?).ok()?,
        job: text(body, "job_id")?,
        denied: first(&["deny", "failed"]).and_then(|verdict| text(verdict, "code")),
        taken_mg: first(&["take"]).and_then(|verdict| mg(verdict, "grams")),
    })
}

fn text(body: &Value, name: &str) -> Option<String> {
    body[name].as_str().map(str::to_owned)
}

/// Grams as milligrams. A shop's weights are far below 2^53 milligrams, so a float holds them.
fn mg(body: &Value, name: &str) -> Option<u64> {
    let grams = body[name].as_f64()?;
    (grams >= 0.0).then(|| (grams * 1_000.0).round() as u64)
}

/// `2026-11-22T14:05:09.123Z` as milliseconds since the epoch (RFC 3339, UTC, three places).
///
/// Counts days from 1 March 0000 (H. Hinnant, "chrono-compatible low-level date algorithms",
/// `days_from_civil`).
fn milliseconds(text: &str) -> Option<u64> {
    const DAYS_TO_EPOCH: u64 = 719_468;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hours, minutes) = (number(11, 13)?, number(14, 16)?);
    let (seconds, ms) = (number(17, 19)?, number(20, 23)?);
    let year = if month <= 2 {
        year.checked_sub(1)?
    } else {
        year
    };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(DAYS_TO_EPOCH)?;
    Some((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_read_as_they_are_shown() {
        assert_eq!(milliseconds("1970-01-01T00:00:00.000Z"), Some(0));
        assert_eq!(
            milliseconds("2000-02-29T00:00:00.001Z"),
            Some(951_782_400_001)
        );
        assert_eq!(
            milliseconds("2026-11-22T14:05:09.123Z"),
            Some(1_795_356_309_123)
        );
        assert_eq!(milliseconds("yesterday"), None);
    }

    #[test]
    fn weights_are_read_to_the_milligram() {
        let body = json!({"a": 120, "b": 120.25, "c": 99_999.999, "d": -1});
        assert_eq!(mg(&body, "a"), Some(120_000));
        assert_eq!(mg(&body, "b"), Some(120_250));
        assert_eq!(mg(&body, "c"), Some(99_999_999));
        assert_eq!(mg(&body, "d"), None);
    }
}
