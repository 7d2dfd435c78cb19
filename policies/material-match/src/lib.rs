//! Printers take the materials that their label names, and no others.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

use raft3d_sdk::config::texts;
use raft3d_sdk::text::concat;
use raft3d_sdk::{
    AdmissionInput, ConfigError, ConfigVerdict, Deny, FilamentView, Hook, HookSet, Policy,
    PrinterView, RuleOutput, TransitionInput, limits, names,
};

#[cfg(not(target_arch = "wasm32"))]
mod cases;
#[cfg(not(target_arch = "wasm32"))]
pub use cases::cases;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct MaterialMatch;

raft3d_sdk::config! {
    /// Configuration of `material-match`.
    pub struct Config {
        /// Key of the printer's label; its value is a list of filament types, with commas between,
        /// compared without regard to ASCII case.
        #[names(label)]
        label: String = "materials".into(),
        /// Whether a printer without that label takes every material, or none.
        allow_unlabelled: bool = true,
        /// States that a job may enter only with a filament that matches; may be empty.
        #[names(state)]
        states: Vec<String> = texts(["Running"]),
    }
}

raft3d_sdk::export!(MaterialMatch: admission, transition);

impl Policy for MaterialMatch {
    const NAME: &'static str = "material-match";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str =
        "Printers take only jobs with a filament of a type that their label names.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Admission, Hook::Transition]);

    type Config = Config;

    fn admission(input: &AdmissionInput<'_>, config: &Config) -> RuleOutput {
        matching(&input.printer, &input.filament, config)
            .map_err(|deny| deny.at("/filament_id"))
            .into()
    }

    fn transition(input: &TransitionInput<'_>, config: &Config) -> RuleOutput {
        if !names::contains(&config.states, input.to) {
            return RuleOutput::allow();
        }
        matching(&input.printer, &input.filament, config)
            .map_err(|deny| deny.at("/status"))
            .into()
    }

    fn check_config(config: &Config) -> ConfigVerdict {
        check(config).into()
    }
}

fn matching(
    printer: &PrinterView<'_>,
    filament: &FilamentView<'_>,
    config: &Config,
) -> Result<(), Deny> {
    let label = printer
        .labels
        .iter()
        .find(|label| label.key == config.label);
    let Some(label) = label else {
        if config.allow_unlabelled {
            return Ok(());
        }
        let message = concat(&[
            "Printer ",
            printer.id,
            " has no label '",
            &config.label,
            "'",
        ]);
        return Err(Deny::new("printer_without_materials", message));
    };
    let mut materials = label.value.split(',').map(str::trim);
    if materials.any(|material| names::same(material, filament.material)) {
        return Ok(());
    }
    let message = concat(&[
        "Printer ",
        printer.id,
        " takes ",
        if label.value.trim().is_empty() {
            "nothing"
        } else {
            label.value
        },
        ", and filament ",
        filament.id,
        " is ",
        filament.material,
    ]);
    Err(Deny::new("material_not_on_printer", message))
}

fn check(config: &Config) -> Result<(), ConfigError> {
    // A key that no label can have would let everything pass.
    if !(1..=limits::LABEL_BYTES_MAX).contains(&config.label.len()) {
        return Err(ConfigError::here("must be 1 to 64 bytes long").under("label"));
    }
    if config.states.is_empty() {
        return Ok(());
    }
    names::check_list(&config.states).map_err(|error| error.under("states"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft3d_sdk::testkit;

    #[test]
    fn answers_the_table_of_cases() {
        testkit::run_cases::<MaterialMatch>(&cases());
    }
}
