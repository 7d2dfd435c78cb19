//! The table of modules that mean harm, on three nodes: each is uploaded, and what is taken is
//! activated and asked, while other clients work.

use raft3d_core::limits::MODULE_BYTES_MAX;
use raft3d_hostile::arena::{Arena, ENFORCED, MODULES, Recorded, SHADOWED, Trial};
use raft3d_hostile::corpus::{self, Entry, Expected};

#[test]
fn no_module_of_the_table_hurts_a_cluster() {
    let mut arena = Arena::open("hostile-corpus");
    let entries = corpus::all();
    let (mut wrong, mut taken) = (Vec::new(), Vec::new());
    for entry in &entries {
        match upload(&mut arena, entry) {
            Ok(Some(trial)) => taken.push((entry, trial)),
            Ok(None) => {}
            Err(what) => wrong.push(what),
        }
    }
    assert!(taken.len() <= MODULES, "{} modules", taken.len());
    let (bound, unbound): (Vec<_>, Vec<_>) = taken
        .into_iter()
        .partition(|(entry, _)| entry.outcome().is_some());
    for (entry, trial) in &unbound {
        wrong.extend(refused_at_activation(&mut arena, entry, trial).err());
    }
    println!(
        "{} modules refused, {} not bound, {} asked",
        entries.len() - bound.len() - unbound.len(),
        unbound.len(),
        bound.len()
    );
    for round in bound.chunks(ENFORCED + SHADOWED) {
        let trials: Vec<_> = round.iter().map(|(_, trial)| trial.clone()).collect();
        let (enforced, shadowed) = trials.split_at(trials.len().min(ENFORCED));
        let recorded = arena.round(enforced, shadowed);
        wrong.extend(
            round
                .iter()
                .filter_map(|(entry, _)| judge(entry, &recorded).err()),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let _ = arena.close();
}

/// Answers the module where it was taken.
fn upload(arena: &mut Arena, entry: &Entry) -> Result<Option<Trial>, String> {
    let answer = arena.upload(&entry.bytes);
    let refusal = match entry.expected {
        // It is too large for a request already.
        Expected::Refused(_) if entry.bytes.len() > MODULE_BYTES_MAX => (413, None),
        Expected::Refused(code) | Expected::RefusedByServer(code) => (422, Some(code)),
        Expected::Heavy(_) if answer.status == 422 => (422, Some("compile_over_limit")),
        _ => (201, None),
    };
    let codes = answer.codes();
    let code = refusal
        .1
        .map(|code| vec![code.to_owned()])
        .unwrap_or_default();
    if (answer.status, codes) != (refusal.0, code) {
        return Err(format!("{}: {refusal:?}, came {answer}", entry.name));
    }
    if refusal.0 != 201 {
        return Ok(None);
    }
    let uploaded = answer.json();
    Ok(Some(Trial {
        name: entry.name.clone(),
        sha256: uploaded["sha256"].as_str().expect("a digest").to_owned(),
        hooks: vec![entry.hook],
    }))
}

fn refused_at_activation(arena: &mut Arena, entry: &Entry, trial: &Trial) -> Result<(), String> {
    let answer = arena.activate_alone(trial);
    let Expected::Unbound(error) = entry.expected else {
        return Err(format!("{} is bound", entry.name));
    };
    let why = error.map_or("/config: nope".to_owned(), |error| {
        format!("check_config failed: {}", error.code())
    });
    if (400..500).contains(&answer.status) && answer.text().contains(&why) {
        return Ok(());
    }
    Err(format!("{}: {why}, came {answer}", entry.name))
}

/// What was recorded of its hook is what must come of it.
fn judge(entry: &Entry, recorded: &Recorded) -> Result<(), String> {
    let key = (entry.name.clone(), entry.hook.name().to_owned());
    let came = recorded
        .get(&key)
        .map(|(kind, code, _)| (kind.as_str(), code.as_deref()));
    let expected = entry.outcome().map(|outcome| outcome.recorded());
    if came == expected {
        return Ok(());
    }
    Err(format!(
        "{}: expected {expected:?}, came {came:?}",
        entry.name
    ))
}
