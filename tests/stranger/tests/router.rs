//! What the router decides, as a host would hear it.

use atoll_testkit::{Component, Decision, Request, World};

#[test]
fn every_name_goes_to_one_upstream() {
    let router = Component::load("target/wasm32-wasip2/release/one.wasm").unwrap();
    let router = router.given(World::new().service("hello")).unwrap();
    for name in ["a.test", "b.test"] {
        let decision = router.route(&Request::get("/x").authority(name)).unwrap();
        assert!(matches!(&*decision, Decision::Forward(to) if to.upstream == "hello"), "{decision:?}");
    }
}
