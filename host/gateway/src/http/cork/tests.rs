use std::{io, sync::Arc, task::Poll};

use atoll_net::heads::Heads;
use futures_util::future::poll_fn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::{CORK, Corked, Ear, Opener, cork};
use crate::http::{Limits, connections::Connections};

fn corked(buffer: usize) -> (Corked<DuplexStream>, Opener<DuplexStream>, DuplexStream) {
    let (near, far) = tokio::io::duplex(buffer);
    let entry = Arc::new(Connections::default()).enter(None, &Limits::default()).unwrap();
    let opener = cork(near, entry.watch.clone(), Ear::Http1(Heads::default()));
    (opener.corked(), opener, far)
}

async fn open(opener: &Opener<DuplexStream>) {
    poll_fn(|cx| {
        opener.open(cx);
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn what_is_flushed_leaves_when_it_is_opened() {
    let (mut corked, opener, mut far) = corked(1 << 20);
    for part in ["one ", "two ", "three"] {
        corked.write_all(part.as_bytes()).await.unwrap();
        corked.flush().await.unwrap();
    }
    let mut buffer = [0; 64];
    let early = tokio::time::timeout(std::time::Duration::from_millis(5), far.read(&mut buffer)).await;
    assert!(early.is_err());
    open(&opener).await;
    let read = far.read(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..read], b"one two three");
    assert_eq!(super::lock(&opener.0).gathered.capacity(), 0, "given back");
}

#[tokio::test]
async fn more_than_it_gathers_waits_for_the_client() {
    let (mut corked, opener, mut far) = corked(1024);
    let part = vec![b'x'; CORK / 2];
    corked.write_all(&part).await.unwrap();
    corked.write_all(&part).await.unwrap();
    let third = tokio::time::timeout(std::time::Duration::from_millis(5), corked.write_all(&part)).await;
    assert!(third.is_err(), "nobody read");
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        all.len()
    });
    corked.write_all(&part).await.unwrap();
    // Larger than the cork, and past it.
    corked.write_all(&vec![b'y'; CORK * 3]).await.unwrap();
    corked.shutdown().await.unwrap();
    drop((corked, opener));
    assert_eq!(reading.await.unwrap(), CORK / 2 * 3 + CORK * 3);
}

#[tokio::test]
async fn an_error_is_told_to_who_writes_next() {
    let (mut corked, opener, far) = corked(1024);
    drop(far);
    corked.write_all(b"x").await.unwrap();
    open(&opener).await;
    assert_eq!(corked.write_all(b"y").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
