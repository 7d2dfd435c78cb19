//! A new policy in the middle of it: uploaded, activated, rolled back.

use std::path::Path;

use super::{Fault, STEP_PATIENCE, Stage, wait_for};
use crate::shop::Desk;

/// The module that is uploaded: a shipped one with a name of its own in it.
const MODULE: &str = "../../policies/prebuilt/standard-deduction.wasm";

/// Uploads a module, activates it in place of the one that decides deductions, and rolls back.
#[derive(Debug, Default)]
pub(super) struct NewPolicy {
    activated: Option<(Desk, u64)>,
}

impl Fault for NewPolicy {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        let nonce = stage.rng.next_u64();
        let mut desk = stage.shop.operator();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(MODULE);
        let module = std::fs::read(path).map_err(|error| error.to_string())?;
        let module = with_custom_section(module, nonce);
        let digest = desk.upload(&module).ok_or("a sound module is not taken")?;
        let place = stage.any();
        let (mut bindings, revision) = wait_for("the ruleset", || {
            let client = stage.fleet.client(place, STEP_PATIENCE);
            let answer = client.try_call("GET", "/api/v1/ruleset", &[], None);
            let answer = answer.map_err(|error| error.to_string())?;
            let body = answer.json();
            let revision = body["revision"]
                .as_u64()
                .ok_or_else(|| answer.to_string())?;
            Ok((body["bindings"].clone(), revision))
        })?;
        let deduction = bindings.as_array_mut().and_then(|bindings| {
            let decides = |hook: &serde_json::Value| hook == "deduction";
            let mut bindings = bindings.iter_mut();
            bindings.find(|binding| {
                let hooks = binding["hooks"].as_array();
                hooks.is_some_and(|hooks| hooks.iter().any(decides))
            })
        });
        let deduction = deduction.ok_or("no binding decides deductions")?;
        deduction["module"] = digest.clone().into();
        let name = format!("house-{nonce:x}");
        if !desk.activate(&name, Some(&bindings), revision) {
            return Err(format!("the ruleset {name} cannot be activated"));
        }
        desk.read_ruleset();
        self.activated = Some((desk, nonce));
        Ok(format!("module {digest} is uploaded and activated"))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        let Some((mut desk, nonce)) = self.activated.take() else {
            return Ok(());
        };
        let place = stage.any();
        let revision = wait_for("the ruleset's revision", || {
            let client = stage.fleet.client(place, STEP_PATIENCE);
            let answer = client.try_call("GET", "/api/v1/ruleset", &[], None);
            let answer = answer.map_err(|error| error.to_string())?;
            answer.json()["revision"]
                .as_u64()
                .ok_or_else(|| answer.to_string())
        })?;
        if !desk.activate(&format!("back-{nonce:x}"), None, revision) {
            return Err("the ruleset cannot be rolled back".to_owned());
        }
        desk.read_ruleset();
        Ok(())
    }
}

/// `module` with one more custom section, which changes nothing but its digest.
fn with_custom_section(mut module: Vec<u8>, nonce: u64) -> Vec<u8> {
    let name = b"nemesis";
    let content = nonce.to_le_bytes();
    let length = 1 + name.len() + content.len();
    // Section 0, its length, its name with length: all below 128, so one LEB128 byte each.
    module.extend([
        0,
        u8::try_from(length).unwrap(),
        u8::try_from(name.len()).unwrap(),
    ]);
    module.extend(name);
    module.extend(content);
    module
}
