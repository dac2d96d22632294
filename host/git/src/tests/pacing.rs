//! How often a follower asks a server that does not do what it is asked.

use std::{
    io::{BufReader, Write as _},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    server::{daemon, runtime, serve},
    support::{InFull as _, Room},
    web,
};
use crate::{Follower, Patience, Remote, Repository, Watcher};

/// When each conversation began.
type Times = Arc<Mutex<Vec<Instant>>>;

fn follow(repository: &Repository, remote: &Remote, poll: Duration) -> Follower {
    Follower::start(repository.clone(), remote.clone(), Watcher::default(), poll, |_| {})
}

/// Between the first of so many.
async fn gaps(times: &Times, of: usize) -> Vec<Duration> {
    loop {
        let seen = times.lock().unwrap().clone();
        if seen.len() >= of {
            return seen[..of].windows(2).map(|two| two[1] - two[0]).collect();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_server_that_fails_is_asked_ever_less_often() {
    let (room, runtime, times) = (Room::new(), runtime(), Times::default());
    let seen = times.clone();
    let (address, _) = serve(move |_| seen.lock().unwrap().push(Instant::now()));
    let remote = daemon(&runtime, address, "/site.git", Patience::default());
    runtime.block_on(async {
        let _follower = follow(&room.pages(), &remote, Duration::from_hours(1));
        let gaps = gaps(&times, 4).await;
        let least = [250, 500, 1_000].map(Duration::from_millis);
        assert!(gaps.iter().zip(least).all(|(gap, least)| *gap >= least), "{gaps:?}");
    });
}

/// Answers each request with this head, and no body.
fn answers(head: &'static str) -> (SocketAddr, Times) {
    let times = Times::default();
    let seen = times.clone();
    let (address, _) = serve(move |stream| {
        let mut stream = BufReader::new(stream);
        while web::head(&mut stream).is_some() {
            seen.lock().unwrap().push(Instant::now());
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, times)
}

#[test]
fn a_server_is_left_alone_for_as_long_as_it_asks() {
    for head in ["503 Service Unavailable\r\nRetry-After: 1", "429 Too Many Requests\r\nRetry-After: 1"] {
        let (room, runtime) = (Room::new(), runtime());
        let (address, times) = answers(head);
        let remote = web::remote(&runtime, address, Patience::default());
        runtime.block_on(async {
            let follower = follow(&room.pages(), &remote, Duration::from_millis(10));
            gaps(&times, 1).await;
            // Whoever asks is told what it said, at once.
            for _ in 0..3 {
                let error = follower.fetch().await.unwrap_err().in_full();
                let words = head.split('\r').next().unwrap();
                assert_eq!(error, format!("http://{address}/site.git: the server answers {words}, Retry-After: 1"));
            }
            let asked = times.lock().unwrap().clone();
            assert!(asked.len() == 1 || asked[1] - asked[0] >= Duration::from_secs(1), "{asked:?}");
            let gaps = gaps(&times, 2).await;
            assert!(gaps[0] >= Duration::from_secs(1), "{gaps:?}");
        });
    }
}

/// For how long a server wants to be left alone is no other failure.
#[test]
fn what_a_server_says_again_is_told_once() {
    let (room, runtime, times) = (Room::new(), runtime(), Times::default());
    let seen = times.clone();
    let (address, _) = serve(move |stream| {
        let mut stream = BufReader::new(stream);
        while web::head(&mut stream).is_some() {
            let count = {
                let mut seen = seen.lock().unwrap();
                seen.push(Instant::now());
                seen.len() % 2
            };
            let answer = format!("HTTP/1.1 503 Busy\r\nRetry-After: {count}\r\nContent-Length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    let remote = web::remote(&runtime, address, Patience::default());
    let told = Arc::<Mutex<Vec<String>>>::default();
    let report = {
        let told = told.clone();
        move |event| told.lock().unwrap().push(format!("{event:?}"))
    };
    runtime.block_on(async {
        let poll = Duration::from_millis(10);
        let _follower = Follower::start(room.pages().clone(), remote.clone(), Watcher::default(), poll, report);
        gaps(&times, 4).await;
    });
    let told = told.lock().unwrap();
    let failed: Vec<_> = told.iter().filter(|event| event.starts_with("Failed(")).collect();
    assert!(failed.len() == 1 && failed[0].contains("503"), "{told:?}");
}
