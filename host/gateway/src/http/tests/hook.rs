//! Hooks: who may tell is told what came of it, and nobody else learns anything.

use atoll_runtime::BodyError;
use bytes::Bytes;
use http::Method;

use super::{Setup, client::request, until};
use crate::{
    http::{Network, Peer, Unheard},
    tls::Protocol,
};

#[tokio::test]
async fn what_comes_of_a_hook() {
    let hook = "/.well-known/host/hook";
    let larger: &str = &"x".repeat(1024 * 1024 + 1);
    let largest = &larger[1..];
    let world = Setup::default().open();
    for protocol in [crate::tls::Protocol::Http1, crate::tls::Protocol::Http2] {
        for (method, path, says, body, status, text) in [
            (Method::POST, "/known", "yes", "12345", 202, ""),
            (Method::POST, "/known?wait", "yes", "12345", 200, "{\"body\":5}"),
            (Method::POST, "/known?a=b&wait", "yes", "", 200, "{\"body\":0}"),
            (Method::POST, "/known?waiting", "yes", "", 202, ""),
            (Method::POST, "/known", "bad", "", 422, "{}"),
            (Method::POST, "/known", "gone", "", 502, "{}"),
            (Method::POST, "/known", "busy", "", 429, ""),
            (Method::POST, "/known", "no", "", 401, ""),
            (Method::POST, "/unknown", "yes", "", 401, ""),
            (Method::POST, "/", "yes", "", 401, ""),
            (Method::POST, "", "yes", "", 404, "404 Not Found\n"),
            (Method::GET, "/known", "yes", "", 405, ""),
            (Method::POST, "/known?wait", "yes", largest, 200, "{\"body\":1048576}"),
            (Method::POST, "/known", "yes", larger, 413, ""),
        ] {
            let mut client = world.client(protocol).await;
            let target = format!("{hook}{path}");
            let asked = request(method.clone(), &target, &[("authorization", says)], body.to_owned());
            let seen = client.see(asked).await;
            assert_eq!((seen.status, seen.text()), (status, text), "{method} {path} {says}");
        }
    }
}

/// Without TLS a secret would be read on the way.
#[tokio::test]
async fn over_plain_http_there_is_no_hook() {
    let world = Setup { redirect: false, ..Setup::default() }.open();
    let asked = request(Method::POST, "/.well-known/host/hook/known", &[("authorization", "yes")], "");
    let seen = world.client_of(super::plain()).await.see(asked).await;
    assert_eq!(seen.status, 404);
    // Unless it was ended by somebody who is believed: who is heard no more is whom that one speaks for.
    for (trusted, status) in [(vec![Network::new("192.0.2.0".parse().unwrap(), 24).unwrap()], 401), (vec![], 404)] {
        let world = Setup { redirect: false, trusted, ..Setup::default() }.open();
        let fields = [("authorization", "no"), ("x-forwarded-proto", "https"), ("x-forwarded-for", "198.51.100.7")];
        let asked = request(Method::POST, "/.well-known/host/hook/known", &fields, "");
        assert_eq!(world.client_of(super::plain()).await.see(asked).await.status, status);
        let client = "198.51.100.7".parse().unwrap();
        let heard = [("known".to_owned(), client, Unheard::Wrong)];
        assert_eq!(*world.hooks.unheard.lock().unwrap(), heard[..usize::from(status == 401)]);
    }
}

/// Who claims to know a secret, and sends next to nothing, has a part of the places; who claims nothing has none.
#[tokio::test]
async fn strangers_do_not_keep_an_honest_hook_waiting() {
    let world = Setup::default().open();
    let path = "/.well-known/host/hook/known";
    let nobody = request(Method::POST, path, &[], "");
    assert_eq!(world.client(Protocol::Http1).await.see(nobody).await.status, 401, "at once");
    let client = super::secure(Protocol::Http1).address.ip();
    assert_eq!(*world.hooks.unheard.lock().unwrap(), [("known".to_owned(), client, Unheard::Unsigned)]);
    let mut strangers = Vec::new();
    for _ in 0..64 {
        let mut stranger = world.client(Protocol::Http2).await;
        let request = request(Method::POST, path, &[("authorization", "no")], "").map(|_| {
            let never = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, BodyError>>();
            http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(never))
        });
        strangers.push(tokio::spawn(async move { stranger.send(request).await.unwrap().status().as_u16() }));
    }
    // Those beyond the stranger's part are told so, and the others hold it.
    until(|| strangers.iter().filter(|one| one.is_finished()).count() == 48).await;
    let peer = Peer { address: "192.0.2.200:7".parse().unwrap(), ..super::secure(Protocol::Http2) };
    let honest = request(Method::POST, path, &[("authorization", "yes")], "12345");
    assert_eq!(world.client_of(peer).await.see(honest).await.status, 202);
    for stranger in strangers {
        if stranger.is_finished() {
            assert_eq!(stranger.await.unwrap(), 429);
        } else {
            stranger.abort();
        }
    }
}

/// However many wait for what comes of theirs, more are heard: of the one client, too.
#[tokio::test]
async fn who_knows_the_secret_and_waits_keeps_nobody_waiting() {
    let world = Setup::default().open();
    let hook = |says| request(Method::POST, "/.well-known/host/hook/known", &[("authorization", says)], "12345");
    let mut all = Vec::new();
    for n in 1..=100 {
        let mut client = world.client(Protocol::Http2).await;
        all.push(tokio::spawn(async move { client.see(hook("slow")).await.status }));
        until(|| world.hooks.slow.load(std::sync::atomic::Ordering::Relaxed) == n).await;
    }
    assert_eq!(world.client(Protocol::Http1).await.see(hook("yes")).await.status, 202);
    for one in all {
        assert_eq!(one.await.unwrap(), 200);
    }
}

/// Bodies are taken in before anybody is known, so their number is bounded; what is held is given back.
#[tokio::test]
async fn no_more_bodies_are_taken_in_than_may_be() {
    let world = Setup::default().open();
    let hook = || request(Method::POST, "/.well-known/host/hook/known", &[("authorization", "yes")], "");
    let held = world.gateway.hooking.try_acquire_many(u32::try_from(super::super::hook::AT_ONCE).unwrap()).unwrap();
    let mut client = world.client(crate::tls::Protocol::Http2).await;
    let busy = client.see(hook()).await;
    assert_eq!((busy.status, busy.field("retry-after")), (429, Some("1")));
    assert_eq!(client.get("/.well-known/host/other", &[]).await.status, 404, "others are answered");
    drop(held);
    assert_eq!(client.see(hook()).await.status, 202);
}

/// After twenty wrong secrets in a minute a client is not heard, with the right one neither; its neighbour is.
#[tokio::test]
async fn who_guesses_is_heard_no_more_for_a_while() {
    let world = Setup::default().open();
    let (mut guessing, mut seen) = (world.client(Protocol::Http1).await, Vec::new());
    let tell = |path: &str, says: &'static str| {
        request(Method::POST, &format!("/.well-known/host/hook/{path}"), &[("authorization", says)], "12345")
    };
    // What claims nothing is no try, nor is a fetch that failed.
    for (path, says, status) in [("known", "yes", 202), ("known", "gone", 502), ("known", "bad", 422)] {
        assert_eq!(guessing.see(tell(path, says)).await.status, status);
    }
    for at in 0..23 {
        let path = if at % 2 == 0 { "known" } else { "unknown" };
        seen.push(guessing.see(tell(path, "no")).await.status);
    }
    assert_eq!(seen, [[401; 20].as_slice(), &[429; 3]].concat());
    let barred = guessing.see(tell("known", "yes")).await;
    assert_eq!((barred.status, barred.field("retry-after"), barred.text()), (429, Some("60"), ""));
    // The log's owner hears of each, and once that it is heard no more.
    let unheard = std::mem::take(&mut *world.hooks.unheard.lock().unwrap());
    let client = super::secure(Protocol::Http1).address.ip();
    let mut expected: Vec<_> =
        (0..20).map(|at| (if at % 2 == 0 { "known" } else { "unknown" }.to_owned(), client, Unheard::Wrong)).collect();
    let left = unheard.last().map(|(_, _, why)| *why);
    assert!(matches!(left, Some(Unheard::Barred(left)) if left.as_secs() >= 50), "{left:?}");
    expected.push(("unknown".to_owned(), client, left.unwrap()));
    assert_eq!(unheard, expected);
    let peer = Peer { address: "192.0.2.200:7".parse().unwrap(), ..super::secure(Protocol::Http2) };
    let mut neighbour = world.client_of(peer).await;
    assert_eq!(neighbour.see(tell("known", "yes")).await.status, 202);
    assert_eq!(guessing.get("/.well-known/host/other", &[]).await.status, 404, "everything else is answered");
}
