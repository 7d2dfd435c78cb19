use super::Shop;
use crate::http::problem::Kind;

#[tokio::test]
async fn every_kind_of_problem_has_a_page_where_its_type_says() {
    let shop = Shop::new();
    let index = shop.get("/docs/problems").await;
    for kind in Kind::ALL {
        let row = kind.row();
        assert!(!row.title.is_empty() && !row.advice.is_empty(), "{kind:?}");
        let uri = format!("/docs/problems/{}", row.slug);
        let page = shop.get(&uri).await;
        assert_eq!(page.status, 200, "{kind:?}: {page:?}");
        assert!(page.text.contains(row.advice), "{page:?}");
        assert!(page.header("raft3d-revision").is_some());
        assert_eq!(index.text.matches(&format!("{uri} ")).count(), 1);
    }
    let unknown = shop.get("/docs/problems/surprise").await;
    let (kind, _) = unknown.problem();
    assert_eq!(unknown.status, 404);
    assert_eq!(
        shop.get(&format!("/docs/problems/{kind}")).await.status,
        200
    );
}

#[tokio::test]
async fn a_part_of_the_path_is_not_called_a_query_parameter() {
    let shop = Shop::new();
    let long = "x".repeat(129);
    for (uri, named) in [
        (format!("/api/v1/printers/{long}"), "id"),
        ("/api/v1/printers/%FF".to_owned(), "id"),
        ("/api/v1/policies/zz".to_owned(), "sha256"),
    ] {
        let answer = shop.get(&uri).await;
        let problem = ("invalid-parameter".to_owned(), Some(named.to_owned()));
        assert_eq!((answer.status.as_u16(), answer.problem()), (400, problem));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.starts_with(&format!("{named} in the path: ")),
            "{detail}"
        );
    }
}
