//! Who is let in, who makes room, and the end.

use std::{net::IpAddr, sync::Arc};

use futures_util::task::noop_waker;

use super::{Admission, Connections, neighbourhood};
use crate::http::{Limits, watch::Order};

fn order(admission: &Admission) -> Order {
    admission.watch.order(&noop_waker())
}

fn enter(connections: &Arc<Connections>, address: &str, limits: &Limits) -> Option<Admission> {
    let admission = connections.enter(Some(address.parse().unwrap()), limits)?;
    admission.watch.settle();
    Some(admission)
}

#[test]
fn addresses_are_counted_as_clients_have_them() {
    for (one, other, same) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
        ("2001:db8::1", "2001:db8:0:1::1", false),
        ("::1", "::", true),
    ] {
        let [one, other] = [one, other].map(|address| neighbourhood(address.parse::<IpAddr>().unwrap()));
        assert_eq!(one == other, same, "{one} {other}");
    }
}

#[test]
fn an_address_that_has_its_share_gives_up_its_oldest_idle_connection() {
    let connections = Arc::new(Connections::default());
    let limits = Limits { address_connections: 2, ..Limits::default() };
    let stranger = enter(&connections, "192.0.2.9", &limits).unwrap();
    connections.tick();
    let one = enter(&connections, "192.0.2.1", &limits).unwrap();
    connections.tick();
    let two = enter(&connections, "192.0.2.1", &limits).unwrap();
    connections.tick();
    let three = enter(&connections, "192.0.2.1", &limits).unwrap();
    assert_eq!([&stranger, &one, &two, &three].map(order), [Order::Serve, Order::Yield, Order::Serve, Order::Serve]);
    // Busy ones stay, and nobody else comes in.
    let busy = [two.watch.begin(), three.watch.begin()];
    assert!(enter(&connections, "192.0.2.1", &limits).is_none());
    assert!(connections.enter(None, &limits).is_some(), "who is not counted is let in");
    drop(busy);
    drop(one);
    let four = enter(&connections, "192.0.2.1", &limits).unwrap();
    assert_eq!([&two, &three, &four].map(order), [Order::Yield, Order::Serve, Order::Serve]);
    drop((two, three, four, stranger));
    assert!(connections.open().addresses.is_empty());
}

/// Who is behind a PROXY header makes room, and counts, as soon as that is known.
#[test]
fn a_stranger_is_on_the_list_and_counts_when_it_is_introduced() {
    let connections = Arc::new(Connections::default());
    let limits = Limits { address_connections: 1, ..Limits::default() };
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let [one, two] = [(); 2].map(|()| connections.enter(None, &limits).unwrap());
    assert_eq!(connections.count(), 2);
    assert!(connections.introduce(&one, address, &limits));
    assert!(connections.introduce(&two, address, &limits), "the one before goes for it");
    assert_eq!([&one, &two].map(order), [Order::Yield, Order::Serve]);
    two.watch.settle();
    let busy = two.watch.begin();
    assert!(enter(&connections, "192.0.2.1", &limits).is_none());
    drop(busy);
    connections.make_room(&limits);
    assert_eq!(order(&two), Order::Yield);
    assert!(enter(&connections, "192.0.2.1", &limits).is_some());
    drop((one, two));
    assert!(connections.open().addresses.is_empty());
}

#[test]
fn when_all_is_full_the_oldest_idle_one_goes() {
    let connections = Arc::new(Connections::default());
    let limits = Limits { connections: 3, ..Limits::default() };
    let all: Vec<_> = (1..=3)
        .map(|at| {
            connections.tick();
            enter(&connections, &format!("192.0.2.{at}"), &limits).unwrap()
        })
        .collect();
    let _busy = all[0].watch.begin();
    connections.make_room(&limits);
    assert_eq!(all.iter().map(order).collect::<Vec<_>>(), [Order::Serve, Order::Yield, Order::Serve]);
    connections.make_room(&limits);
    connections.make_room(&limits);
    assert_eq!(all.iter().map(order).collect::<Vec<_>>(), [Order::Serve, Order::Yield, Order::Yield]);
}

#[test]
fn who_comes_while_everybody_leaves_gets_one_answer() {
    let connections = Arc::new(Connections::default());
    connections.drain();
    let entry = enter(&connections, "192.0.2.1", &Limits::default()).unwrap();
    assert_eq!(order(&entry), Order::Serve);
    let busy = entry.watch.begin();
    assert_eq!(order(&entry), Order::Leave);
    drop(busy);
    connections.abort();
    assert_eq!(order(&entry), Order::Abort);
}

#[tokio::test]
async fn the_last_one_closes_the_door() {
    let connections = Arc::new(Connections::default());
    connections.empty().await;
    let limits = Limits::default();
    let [one, two] = [(); 2].map(|()| enter(&connections, "192.0.2.1", &limits).unwrap());
    assert_eq!(connections.count(), 2);
    drop(one);
    let waiting = tokio::spawn({
        let connections = connections.clone();
        async move { connections.empty().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(two);
    waiting.await.unwrap();
}
