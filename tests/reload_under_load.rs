//! Reloads while clients ask: not one request fails.

use crate::support::{
    guests::HELLO,
    host::Setup,
    load::Clients,
    tables,
    wait::{SOON, until},
};

/// Upstreams that come and go with a reload are there for as long as anybody decides on them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_tables_change_under_load() {
    let table = |upstream: &str| {
        let route = format!("upstream = \"{upstream}\"\n");
        (tables::guest(upstream, "hello", ""), route)
    };
    let (one, one_route) = table("one");
    let (two, two_route) = table("two");
    let setup = Setup::new(&[&*one, &*tables::router()].concat());
    let routes = setup.repository("routes");
    routes.commit("main", &[("_.toml", &one_route)]);
    let host = setup.start().await;
    let load = Clients::ask(&host, 2, HELLO);
    for turn in 0..6 {
        let (table, route) = if turn % 2 == 0 { (&two, &two_route) } else { (&one, &one_route) };
        // The route waits for its upstream; the old one goes only when nobody names it.
        routes.commit("main", &[("_.toml", route)]);
        host.setup().manifest(&[&*one, &*two, &*tables::router()].concat());
        host.reload().await.done();
        until(SOON, "the route", async || host.component("router").await["error"].is_null().then_some(())).await;
        host.setup().manifest(&[&**table, &*tables::router()].concat());
        host.reload().await.done();
    }
    assert!(load.stop().await > 200, "that was no load");
}

/// Nor while a router comes, goes by another name, and is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_a_router_comes_and_goes() {
    let hello = tables::guest("hello", "hello", "");
    let setup = Setup::new(&hello);
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"hello\"\n")]);
    setup.repository("others").commit("main", &[("_.toml", "upstream = \"gate\"\n")]);
    let host = setup.start().await;
    let load = Clients::ask(&host, 2, HELLO);
    let router = tables::router();
    let gate = router.replace("[component.router]", "[component.gate]");
    let more: String = (0..10).map(|n| tables::guest(&format!("more{n}"), "hello", "")).collect();
    // The two trade places, and what decides has routes of its own.
    let traded = [
        &*router
            .replace("[component.router]", "[component.hello]")
            .replace("routes.git", "others.git")
            .replace("routes", "others"),
        &hello.replace("[component.hello]", "[component.gate]"),
    ]
    .concat()
    .replace("{ others = \"read\" }", "{ routes = { from = \"others\", mode = \"read\" } }");
    for _ in 0..2 {
        for manifest in [
            [&*hello, &router].concat(),
            [&*hello, &gate].concat(),
            [&*hello, &router, &more].concat(),
            [&*hello, &gate].concat(),
            [&*traded, &more].concat(),
            hello.clone(),
        ] {
            host.setup().manifest(&manifest);
            host.reload().await.done();
        }
    }
    assert!(load.stop().await > 200, "that was no load");
}
