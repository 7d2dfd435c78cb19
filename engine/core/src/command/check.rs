//! The limits of every field, with the JSON Pointer of the API's field name. Apply calls these;
//! the server may call them too, to refuse early.

use raft3d_sdk::Grams;

use super::{Actor, AdjustClock, CreateFilament, CreateJob, CreatePrinter, Labels, SetJobStatus};
use crate::ids::RequestId;
use crate::limits::{
    ACTOR_BYTES_MAX, CLOCK_OFFSET_MS_MAX, DENSITY_MG_PER_CM3_MAX, DIAMETER_UM_MAX,
    GENERATED_ID_PREFIX, ID_BYTES_MAX, LABEL_BYTES_MAX, LABELS_MAX, REQUEST_ID_BYTES_MAX,
    STATE_NAME_BYTES_MAX, TEXT_BYTES_MAX,
};
use crate::rejection::{Rejection, RejectionKind};

/// A check passes or names what is wrong.
pub type Checked = Result<(), Box<Rejection>>;

fn invalid(field: &str, message: impl Into<String>) -> Box<Rejection> {
    Box::new(Rejection::new(RejectionKind::InvalidField, message).at(field))
}

/// The last token of a JSON Pointer, for messages.
fn name(field: &str) -> &str {
    field.rsplit('/').next().unwrap_or(field)
}

/// Who asks, and the request's id. These are no fields of a body, so no pointer is given.
///
/// # Errors
/// What is wrong.
pub fn request(actor: &Actor, id: &RequestId) -> Checked {
    let whole = |what: &str, text: &str, max: usize| {
        let problem = if text.is_empty() {
            Some("must not be empty".to_owned())
        } else if text.len() > max {
            Some(format!("must not exceed {max} bytes"))
        } else if text.chars().any(char::is_control) {
            Some("must not contain control characters".to_owned())
        } else {
            None
        };
        problem.map_or(Ok(()), |problem| {
            let message = format!("{what} {problem}");
            Err(Box::new(Rejection::new(
                RejectionKind::InvalidField,
                message,
            )))
        })
    };
    whole("the actor's name", &actor.name, ACTOR_BYTES_MAX)?;
    whole("the request id", id.as_str(), REQUEST_ID_BYTES_MAX)
}

/// Fields of [`CreatePrinter`].
///
/// # Errors
/// The first field at fault.
pub fn create_printer(command: &CreatePrinter) -> Checked {
    new_id(command.id.as_ref().map(|id| id.as_str()))?;
    text("/company", &command.company)?;
    text("/model", &command.model)?;
    labels(&command.labels)
}

/// Fields of [`CreateFilament`].
///
/// # Errors
/// The first field at fault.
pub fn create_filament(command: &CreateFilament) -> Checked {
    new_id(command.id.as_ref().map(|id| id.as_str()))?;
    text("/type", &command.material)?;
    text("/color", &command.color)?;
    grams("/total_weight_in_grams", command.total)?;
    if command.total == Grams::ZERO {
        return Err(invalid(
            "/total_weight_in_grams",
            "total_weight_in_grams must be greater than 0",
        ));
    }
    if let Some(remaining) = command.remaining {
        grams("/remaining_weight_in_grams", remaining)?;
        if remaining > command.total {
            let message = format!(
                "remaining_weight_in_grams ({remaining}) must not exceed total_weight_in_grams \
                 ({})",
                command.total
            );
            return Err(invalid("/remaining_weight_in_grams", message));
        }
    }
    optional_text("/vendor", command.vendor.as_deref())?;
    optional_text("/lot", command.lot.as_deref())?;
    number(
        "/density_mg_per_cm3",
        command.density_mg_per_cm3,
        DENSITY_MG_PER_CM3_MAX,
    )?;
    number("/diameter_um", command.diameter_um, DIAMETER_UM_MAX)
}

/// Fields of [`CreateJob`]. That the weight is above zero and fits is for policies to say.
///
/// # Errors
/// The first field at fault.
pub fn create_job(command: &CreateJob) -> Checked {
    new_id(command.id.as_ref().map(|id| id.as_str()))?;
    reference("/printer_id", command.printer_id.as_str())?;
    reference("/filament_id", command.filament_id.as_str())?;
    text("/filepath", &command.filepath)?;
    grams("/print_weight_in_grams", command.print_weight)?;
    labels(&command.labels)?;
    match &command.status {
        Some(status) => length("/status", status, STATE_NAME_BYTES_MAX),
        None => Ok(()),
    }
}

/// Fields of [`SetJobStatus`].
///
/// # Errors
/// The first field at fault.
pub fn set_job_status(command: &SetJobStatus) -> Checked {
    length("/status", &command.status, STATE_NAME_BYTES_MAX)?;
    if let Some(used) = command.used {
        grams("/used_weight_in_grams", used)?;
    }
    reason(command.reason.as_deref())
}

/// Fields of [`AdjustClock`].
///
/// # Errors
/// The first field at fault.
pub fn adjust_clock(command: &AdjustClock) -> Checked {
    if command.offset_ms > CLOCK_OFFSET_MS_MAX {
        let message = format!("offset_ms must not exceed {CLOCK_OFFSET_MS_MAX}");
        return Err(invalid("/offset_ms", message));
    }
    reason(command.reason.as_deref())
}

/// A reason: free text, lines allowed.
///
/// # Errors
/// Too long.
pub fn reason(reason: Option<&str>) -> Checked {
    reason.map_or(Ok(()), |reason| length("/reason", reason, TEXT_BYTES_MAX))
}

/// An id that a client gives to something new. Any UTF-8 but what would not survive a URL path or a
/// line of text, and not what apply makes itself.
fn new_id(id: Option<&str>) -> Checked {
    let Some(id) = id else { return Ok(()) };
    reference("/id", id)?;
    if id.starts_with(GENERATED_ID_PREFIX) {
        let message = format!("ids that start with {GENERATED_ID_PREFIX} are made by the server");
        return Err(invalid("/id", message));
    }
    if id.contains('/') || id.chars().any(char::is_control) || id == "." || id == ".." {
        let message = "id must not contain '/' or control characters, nor be '.' or '..'";
        return Err(invalid("/id", message));
    }
    Ok(())
}

/// An id that may or may not exist.
fn reference(field: &str, id: &str) -> Checked {
    if id.is_empty() {
        return Err(invalid(field, format!("{} must not be empty", name(field))));
    }
    length(field, id, ID_BYTES_MAX)
}

fn length(field: &str, text: &str, max: usize) -> Checked {
    if text.len() > max {
        return Err(invalid(
            field,
            format!("{} must not exceed {max} bytes", name(field)),
        ));
    }
    Ok(())
}

fn text(field: &str, text: &str) -> Checked {
    if text.is_empty() {
        return Err(invalid(field, format!("{} must not be empty", name(field))));
    }
    optional_text(field, Some(text))
}

fn optional_text(field: &str, text: Option<&str>) -> Checked {
    let Some(text) = text else { return Ok(()) };
    length(field, text, TEXT_BYTES_MAX)?;
    if text.chars().any(char::is_control) {
        let message = format!("{} must not contain control characters", name(field));
        return Err(invalid(field, message));
    }
    Ok(())
}

/// Decoding takes any number of milligrams; a weight ends at [`Grams::MAX`].
fn grams(field: &str, grams: Grams) -> Checked {
    if grams > Grams::MAX {
        return Err(invalid(
            field,
            format!("{} must not exceed {}", name(field), Grams::MAX),
        ));
    }
    Ok(())
}

fn number(field: &str, number: Option<u64>, max: u64) -> Checked {
    match number {
        Some(n) if n == 0 || n > max => Err(invalid(
            field,
            format!("{} must be 1 to {max}", name(field)),
        )),
        _ => Ok(()),
    }
}

fn labels(labels: &Labels) -> Checked {
    if labels.len() > LABELS_MAX {
        return Err(invalid(
            "/labels",
            format!("at most {LABELS_MAX} labels are allowed"),
        ));
    }
    for (key, value) in labels {
        let fits =
            |text: &str| text.len() <= LABEL_BYTES_MAX && !text.chars().any(char::is_control);
        if key.is_empty() || !fits(key) || !fits(value) {
            let message = format!(
                "a label's key (not empty) and value must not exceed {LABEL_BYTES_MAX} bytes nor \
                 contain control characters"
            );
            // RFC 6901, section 3: '~' and '/' are escaped in a pointer. A key that is too long is
            // not repeated.
            let field = match key.len() {
                0..=LABEL_BYTES_MAX => {
                    format!("/labels/{}", key.replace('~', "~0").replace('/', "~1"))
                }
                _ => "/labels".to_owned(),
            };
            return Err(invalid(&field, message));
        }
    }
    Ok(())
}
