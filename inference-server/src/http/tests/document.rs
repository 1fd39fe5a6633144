//! The `OpenAPI` document and its page.

use serde_json::json;

use super::*;

#[test]
fn the_document_and_the_router_know_the_same_routes() {
    let document = openapi::build(true);
    let documented: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    for route in routes::ROUTES {
        // What is between router and server is nobody else's.
        if !route.is_internal() {
            assert!(
                documented.contains(&&route.path.to_owned()),
                "{}",
                route.path
            );
        }
    }
    for path in documented {
        assert!(routes::find(Some(path)).is_some(), "{path}");
    }
}

#[test]
fn every_status_that_is_documented_is_counted_from_the_start() {
    let document = openapi::build(true);
    for (path, methods) in document["paths"].as_object().unwrap() {
        let route = routes::find(Some(path)).unwrap();
        let operations = methods.as_object().unwrap().values();
        for status in operations.flat_map(|one| one["responses"].as_object().unwrap().keys()) {
            let status = status.parse().unwrap();
            assert!(route.statuses().contains(&status), "{path}: {status}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = openapi::build(true);
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[test]
fn every_type_has_a_name_of_its_own() {
    let schemas = &openapi::build(true)["components"]["schemas"];
    for (name, field) in [
        ("PredictRequest", "text_pair"),
        ("TeiPredictRequest", "inputs"),
        ("PredictResponse", "reward_score"),
        ("VllmClassifyRequest", "input"),
        ("SglangClassifyRequest", "text"),
        ("VllmClassifyResponse", "usage"),
        ("CohereRerankRequest", "documents"),
        ("TeiRerankRequest", "texts"),
        ("VllmScoreRequest", "text_1"),
    ] {
        let schema = schemas[name].to_string();
        assert!(
            schema.contains(&format!("\"{field}\":")),
            "{name}: {schema}"
        );
    }
}

#[tokio::test]
async fn the_document_and_its_page_are_served_and_need_nothing_from_elsewhere() {
    let (router, _) = fake();
    let (status, document) = ask(&router, get("/openapi.json")).await;
    assert_eq!(
        (status.as_u16(), &document["openapi"]),
        (200, &json!("3.1.0"))
    );
    let page = router.oneshot(get("/docs")).await.unwrap();
    assert!(
        page.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let page = String::from_utf8(bytes_of(page).await).unwrap();
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "it loads something"
    );
}

#[tokio::test]
async fn every_documented_route_is_there_and_knows_its_method_only() {
    let (router, _) = fake();
    let document = openapi::build(false);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "delete", "patch"] {
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(path.replace("{id}", "x"))
                .body(Body::empty())
                .unwrap();
            let status = router.clone().oneshot(request).await.unwrap().status();
            let known = methods.get(method).is_some();
            // Administration is closed here, whatever the method.
            let closed = status == 403 && !known;
            assert_eq!(status == 405 || closed, !known, "{method} {path}: {status}");
            if let Some(operation) = methods.get(method) {
                let responses = operation["responses"].as_object().unwrap();
                assert!(
                    responses.contains_key(status.as_str()),
                    "{method} {path}: {status}"
                );
            }
        }
    }
}
