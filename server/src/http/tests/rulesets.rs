//! `/api/v1/policies` and `/api/v1/ruleset`.

use serde_json::{Value, json};

use super::{Answer, Shop};

const RULESET: &str = "/api/v1/ruleset";
const WASM: [(&str, &str); 1] = [("content-type", "application/wasm")];

async fn put(shop: &Shop, if_match: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("if-match", if_match)];
    shop.call("PUT", RULESET, &headers, body.to_string()).await
}

#[tokio::test]
async fn modules_come_and_go() {
    let shop = Shop::new();
    let bytes = "\0asm standard-lifecycle, another build";
    let new = shop.call("POST", "/api/v1/policies", &WASM, bytes).await;
    assert_eq!(new.status, 201, "{new:?}");
    let known = shop.call("POST", "/api/v1/policies", &WASM, bytes).await;
    assert_eq!((known.status.as_u16(), known.json()), (200, new.json()));
    let info = new.json();
    let uri = format!("/api/v1/policies/{}", info["sha256"].as_str().unwrap());
    assert_eq!(new.header("location"), Some(uri.as_str()));
    assert_eq!(info["hooks"], json!(["admission", "transition"]));
    assert_eq!(info["size_bytes"], bytes.len());

    let detail = shop.get(&uri).await.json();
    assert_eq!(detail["config_schema"], json!({"type": "object"}));
    assert_eq!(detail["lifecycle"]["states"][0]["name"], "Queued");
    let original = shop.get(&format!("{uri}/module")).await;
    assert_eq!(original.header("content-type"), Some("application/wasm"));
    assert_eq!(original.text, bytes);
    assert_eq!(
        shop.get("/api/v1/policies")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        3
    );

    assert_eq!(shop.call("DELETE", &uri, &[], "").await.status, 204);
    assert_eq!(shop.get(&uri).await.status, 404);
    let bound = shop.get(RULESET).await.json()["bindings"][0]["module"].clone();
    let bound = format!("/api/v1/policies/{}", bound.as_str().unwrap());
    let kept = shop.call("DELETE", &bound, &[], "").await;
    assert_eq!(
        (kept.status.as_u16(), kept.problem().0.as_str()),
        (409, "module-in-use")
    );
}

#[tokio::test]
async fn a_refused_module_says_why() {
    let shop = Shop::new();
    let before = shop.log_index();
    let refused = shop
        .call("POST", "/api/v1/policies", &WASM, "bad bytes")
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().0.as_str()),
        (422, "module-refused")
    );
    assert_eq!(
        (&refused.json()["code"], &refused.json()["place"]),
        (&json!("not_wasm"), &json!("offset 0x0"))
    );
    let large = shop
        .call("POST", "/api/v1/policies", &WASM, vec![0; 600 * 1024])
        .await;
    assert_eq!(
        (large.status.as_u16(), large.problem().0.as_str()),
        (413, "body-too-large")
    );
    assert_eq!(shop.log_index(), before);
}

#[tokio::test]
async fn a_ruleset_is_replaced_by_whoever_has_seen_it() {
    let shop = Shop::stocked().await;
    let active = shop.get(RULESET).await;
    let tag = active.header("etag").unwrap().to_owned();
    let mut bindings = active.json()["bindings"].clone();
    assert_eq!(bindings[0]["percentage"], 100);
    assert_eq!(bindings[0]["scope"], "all");
    assert_eq!(bindings[0]["config"], json!({}));
    bindings[0]["config"] = json!({"materials": ["PLA", "ASA"]});
    // What is shown can be sent back.
    let body = json!({"bindings": bindings, "reason": "we print ASA now"});

    let headers = [("content-type", "application/json")];
    let unseen = shop.call("PUT", RULESET, &headers, body.to_string()).await;
    assert_eq!(
        (unseen.status.as_u16(), unseen.problem().0.as_str()),
        (428, "precondition-required")
    );
    let stale = put(&shop, "\"999\"", &body).await;
    assert_eq!(
        (stale.status.as_u16(), stale.problem().0.as_str()),
        (412, "revision-mismatch")
    );

    let done = put(&shop, &tag, &body).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["bindings"], bindings);
    assert_eq!(done.json()["reason"], "we print ASA now");
    assert_eq!(shop.get(RULESET).await.text, done.text);
    assert_eq!(put(&shop, &tag, &body).await.status, 412);

    let back = shop.call("POST", "/api/v1/ruleset/rollback", &[], "").await;
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!(back.json()["bindings"][0]["config"], json!({}));
    let history = shop.get("/api/v1/ruleset/revisions?limit=2").await;
    assert_eq!(history.json()[0], back.json());
    let older = shop.get(&history.next_page().unwrap()).await;
    assert_eq!(older.json()[0], active.json());
}

#[tokio::test]
async fn an_activation_waits_for_the_voters_and_a_rollback_does_not() {
    let shop = Shop::stocked().await;
    let active = shop.get(RULESET).await;
    let tag = active.header("etag").unwrap().to_owned();
    let bindings = active.json()["bindings"].clone();
    let body = json!({ "bindings": bindings });
    assert_eq!(put(&shop, &tag, &body).await.status, 200);
    let tag = shop.get(RULESET).await.header("etag").unwrap().to_owned();
    let module = bindings[0]["module"].as_str().unwrap().parse().unwrap();
    shop.set_compiling(module);
    let before = shop.log_index();
    let waits = put(&shop, &tag, &body).await;
    assert_eq!(
        (waits.status.as_u16(), waits.problem().0.as_str()),
        (503, "modules-not-compiled")
    );
    assert!(
        waits.text.contains("node 3 is still compiling"),
        "{waits:?}"
    );
    assert!(waits.header("retry-after").is_some());
    assert_eq!(shop.log_index(), before, "nothing was proposed");
    let back = shop.call("POST", "/api/v1/ruleset/rollback", &[], "").await;
    assert_eq!(back.status, 200, "{back:?}");
}

#[tokio::test]
async fn bindings_are_read_with_care() {
    let shop = Shop::new();
    let active = shop.get(RULESET).await;
    let tag = active.header("etag").unwrap().to_owned();
    let good = active.json()["bindings"].clone();
    let before = shop.visible().await;
    for (field, value, named) in [
        ("module", json!("abc"), "bindings/0/module"),
        ("module", json!(null), "bindings/0/module"),
        ("id", json!(null), "bindings/0/id"),
        (
            "hooks",
            json!(["admission", "flight"]),
            "bindings/0/hooks/1",
        ),
        ("hooks", json!(null), "bindings/0/hooks"),
        ("scope", json!("some"), "bindings/0/scope"),
        (
            "scope",
            json!({"printer_label": {"key": "a"}}),
            "bindings/0/scope/printer_label/value",
        ),
        (
            "scope",
            json!({"filament_type": "PLA", "x": 1}),
            "bindings/0/scope/x",
        ),
        ("mode", json!("loud"), "bindings/0/mode"),
        ("percentage", json!(100.5), "bindings/0/percentage"),
        ("percentage", json!("100"), "bindings/0/percentage"),
        ("lifecycle", json!("yes"), "bindings/0/lifecycle"),
        (
            "config",
            json!({"factor": [1, 0.5]}),
            "bindings/0/config/factor/1",
        ),
        ("config", json!([]), "bindings/0/config"),
        ("surprise", json!(1), "bindings/0/surprise"),
    ] {
        let mut bindings = good.clone();
        bindings[0][field] = value;
        let answer = put(&shop, &tag, &json!({ "bindings": bindings })).await;
        assert_eq!(answer.status, 400, "{field}: {answer:?}");
        assert_eq!(answer.problem().1.as_deref(), Some(named), "{answer:?}");
    }
    for body in [json!({}), json!({"bindings": {}}), json!({"bindings": [1]})] {
        let answer = put(&shop, &tag, &body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(
            answer
                .problem()
                .1
                .is_some_and(|field| field.starts_with("bindings"))
        );
    }
    assert_eq!(shop.visible().await, before);
}

/// Readers differ in which of two values they take, so neither is.
#[tokio::test]
async fn a_configuration_that_gives_a_field_twice_is_refused_at_any_depth() {
    let shop = Shop::new();
    let active = shop.get(RULESET).await;
    let tag = active.header("etag").unwrap().to_owned();
    let before = shop.visible().await;
    for (config, named) in [
        (r#"{"a":1,"a":2}"#, "bindings/0/config/a"),
        (
            r#"{"a":{"b":[{"c/d":1,"c/d":1}]}}"#,
            "bindings/0/config/a/b/0/c~1d",
        ),
    ] {
        let mut body = json!({ "bindings": active.json()["bindings"] });
        body["bindings"][0]["config"] = json!("here");
        let body = body.to_string().replace("\"here\"", config);
        let headers = [("content-type", "application/json"), ("if-match", &*tag)];
        let answer = shop.call("PUT", RULESET, &headers, body).await;
        assert_eq!(answer.status, 400, "{config}: {answer:?}");
        assert_eq!(answer.problem().1.as_deref(), Some(named), "{answer:?}");
    }
    assert_eq!(shop.visible().await, before);
}

#[tokio::test]
async fn scopes_and_shares_are_shown_as_they_were_given() {
    let shop = Shop::new();
    let active = shop.get(RULESET).await;
    let mut bindings = active.json()["bindings"].clone();
    for (id, scope, percentage) in [
        (
            "canary",
            json!({"printer_label": {"key": "room", "value": "2"}}),
            json!(12.5),
        ),
        ("tpu", json!({"filament_type": "TPU"}), json!(0.01)),
    ] {
        let mut shadow = bindings[0].clone();
        shadow["id"] = json!(id);
        shadow["mode"] = json!("shadow");
        shadow["lifecycle"] = json!(false);
        shadow["scope"] = scope;
        shadow["percentage"] = percentage;
        bindings.as_array_mut().unwrap().push(shadow);
    }
    let done = put(&shop, "*", &json!({ "bindings": bindings })).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["bindings"], bindings);
}

#[tokio::test]
async fn configurations_are_compared_with_their_modules_schemas() {
    let shop = Shop::stocked().await;
    let schema = json!({"type": "object", "additionalProperties": false, "properties": {
        "limits": {"type": "array", "items": {"type": "integer", "maximum": 9}},
        "materials": {"type": "array"}}});
    let bytes = format!("a lifecycle: standard-lifecycle schema:{schema}");
    let uploaded = shop.call("POST", "/api/v1/policies", &WASM, bytes).await;
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    let active = shop.get(RULESET).await;
    let tag = active.header("etag").unwrap().to_owned();
    let bindings = active.json()["bindings"].clone();
    let mut other = bindings[0].clone();
    other["id"] = json!("other");
    other["lifecycle"] = json!(false);
    other["module"] = uploaded.json()["sha256"].clone();
    let second = bindings.as_array().unwrap().len();
    let before = shop.log_index();
    let with = |config: Value| {
        let mut other = other.clone();
        other["config"] = config;
        let mut all = bindings.clone();
        all.as_array_mut().unwrap().push(other);
        json!({ "bindings": all })
    };
    let bad = json!({"limits": [10, 5, "x"], "colour": 1});
    let refused = put(&shop, &tag, &with(bad)).await;
    let at = format!("bindings/{second}/config");
    let kind = ("invalid-field".to_owned(), Some(format!("{at}/colour")));
    assert_eq!((refused.status.as_u16(), refused.problem()), (400, kind));
    let details = refused.json()["details"].clone();
    let details: Vec<_> = details.as_array().unwrap().iter().collect();
    assert_eq!(details.len(), 3, "{refused:?}");
    let first = details[1].as_str().unwrap();
    assert!(first.starts_with(&format!("/{at}/limits/0: ")), "{first}");
    assert!(first.ends_with("(binding 'other')"), "{first}");
    assert_eq!(shop.log_index(), before, "nothing was proposed");

    // What the schema lets through, the module still decides.
    let blocked = put(&shop, &tag, &with(json!({"materials": [5]}))).await;
    assert_eq!(blocked.problem().0, "activation-blocked", "{blocked:?}");
    let done = put(&shop, &tag, &with(json!({}))).await;
    assert_eq!(done.status, 200, "{done:?}");
}

#[tokio::test]
async fn a_module_whose_schema_cannot_be_used_is_refused() {
    let shop = Shop::new();
    let before = shop.log_index();
    for (schema, named) in [
        ("{", "not JSON"),
        ("{\"type\":\"integr\"}", "no valid JSON Schema"),
        ("{\"$ref\":\"http://127.0.0.1:1/\"}", "/$ref"),
    ] {
        let bytes = format!("schema:{schema}");
        let refused = shop.call("POST", "/api/v1/policies", &WASM, bytes).await;
        assert_eq!(refused.problem().0, "module-refused", "{refused:?}");
        assert_eq!(refused.json()["code"], "bad_config_schema");
        assert!(refused.text.contains(named), "{refused:?}");
    }
    assert_eq!(shop.log_index(), before);
}

#[tokio::test]
async fn a_rollback_is_for_whoever_has_seen_the_ruleset() {
    const ROLLBACK: &str = "/api/v1/ruleset/rollback";
    let shop = Shop::stocked().await;
    let bindings = shop.get(RULESET).await.json()["bindings"].clone();
    let body = json!({ "bindings": bindings });
    assert_eq!(put(&shop, "*", &body).await.status, 200);
    let seen = shop.get(RULESET).await.header("etag").unwrap().to_owned();
    assert_eq!(put(&shop, &seen, &body).await.status, 200);
    let before = shop.visible().await;
    let stale = shop
        .call("POST", ROLLBACK, &[("if-match", &seen)], "")
        .await;
    assert_eq!(
        (stale.status.as_u16(), stale.problem().0.as_str()),
        (412, "revision-mismatch")
    );
    assert_eq!(shop.visible().await, before);
    let seen = shop.get(RULESET).await.header("etag").unwrap().to_owned();
    let back = shop
        .call("POST", ROLLBACK, &[("if-match", &seen)], "")
        .await;
    assert_eq!(back.status, 200, "{back:?}");
}

#[tokio::test]
async fn a_name_that_matches_nothing_is_refused_or_warned_of() {
    let shop = Shop::stocked().await;
    let active = shop.get(RULESET).await.json();
    assert_eq!(active["warnings"], json!([]));
    let mut bindings = active["bindings"].clone();
    bindings[0]["config"] = json!({"materials": ["PLA", "ASA "]});
    let refused = put(&shop, "*", &json!({ "bindings": bindings })).await;
    let field = "bindings/0/config/materials/1".to_owned();
    assert_eq!(
        (refused.status.as_u16(), refused.problem()),
        (409, ("activation-blocked".to_owned(), Some(field)))
    );
    let forced = put(&shop, "*", &json!({ "bindings": bindings, "force": true })).await;
    assert_eq!(forced.status, 200, "{forced:?}");
    let warning = json!([{
        "pointer": "/bindings/0/config/materials/1",
        "message": "names the material 'ASA ', which begins or ends with white space: nothing \
                    matches it",
    }]);
    assert_eq!(forced.json()["warnings"], warning);
    assert_eq!(shop.get(RULESET).await.json()["warnings"], warning);
    // A dry run says what an activation would.
    let dry = json!({"hook": "admission", "module": bindings[0]["module"],
        "config": {"materials": [" PLA"]}, "job": {"printer_id": "p1", "filament_id": "f1",
        "filepath": "/a.stl", "print_weight_in_grams": 1}});
    let dry = shop
        .post("/api/v1/policies/evaluate", &dry.to_string())
        .await;
    assert_eq!(dry.status, 400, "{dry:?}");
    assert_eq!(dry.problem().1.as_deref(), Some("config/materials/0"));
}

#[tokio::test]
async fn a_binding_that_is_never_asked_is_warned_of() {
    let shop = Shop::stocked().await;
    let mut bindings = shop.get(RULESET).await.json()["bindings"].clone();
    let mut second = bindings[1].clone();
    second["id"] = json!("second");
    bindings.as_array_mut().unwrap().push(second);
    let done = put(&shop, "*", &json!({ "bindings": bindings })).await;
    assert_eq!(done.status, 200, "{done:?}");
    let warnings = done.json()["warnings"].clone();
    assert_eq!(warnings[0]["pointer"], "/bindings/2", "{done:?}");
    let message = warnings[0]["message"].as_str().unwrap();
    assert!(message.contains("is never asked"), "{message}");
}

/// A refusal that cannot be got over but by an override says so, whichever door it comes by, and what
/// it says works.
#[tokio::test]
async fn a_stranded_jobs_refusal_names_override_at_both_doors() {
    let shop = Shop::stocked().await;
    let standard = shop.get(RULESET).await.json()["bindings"].clone();
    let bytes = "standard-lifecycle with a Draft";
    let module = shop
        .call("POST", "/api/v1/policies", &WASM, bytes)
        .await
        .json();
    let mut drafts = standard.clone();
    drafts[0]["lifecycle"] = false.into();
    drafts.as_array_mut().unwrap().push(json!({
        "id": "drafts", "module": module["sha256"], "hooks": [], "lifecycle": true,
    }));
    let drafts = put(&shop, "*", &json!({ "bindings": drafts })).await;
    assert_eq!(drafts.status, 200, "{drafts:?}");
    for id in ["j1", "j2"] {
        let job = json!({"id": id, "printer_id": "p1", "filament_id": "f1",
            "filepath": "/a.stl", "print_weight_in_grams": 1});
        let created = shop.post("/api/v1/print_jobs", &job.to_string()).await;
        assert_eq!(created.json()["status"], "Draft", "{created:?}");
    }
    let body = json!({ "bindings": standard });
    assert_eq!(put(&shop, "*", &body).await.status, 409);
    let forced = json!({ "bindings": body["bindings"], "force": true });
    let forced = put(&shop, "*", &forced).await;
    assert_eq!(forced.status, 200, "{forced:?}");
    let warning = forced.json()["warnings"][0]["message"].to_string();
    assert!(warning.contains("they are stranded"), "{warning}");

    let way_out = r#"{"status":"Canceled","override":true}"#;
    let new_door = "/api/v1/print_jobs/j1/status";
    let refused = shop.post(new_door, r#"{"status":"running"}"#).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(way_out), "{detail}");
    let classic = "/printjobs/j2/status";
    let refused = shop.post(&format!("{classic}?status=running"), "").await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.text.contains(way_out), "{refused:?}");
    for door in [new_door, classic] {
        let ended = shop.post(door, way_out).await;
        assert_eq!(ended.status, 200, "{door}: {ended:?}");
    }
    for id in ["j1", "j2"] {
        let job = shop.get(&format!("/api/v1/print_jobs/{id}")).await;
        assert_eq!(job.json()["status"], "Canceled");
    }
}
