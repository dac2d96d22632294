//! What is sent once more over HTTP/2, and what is not, where a body is to go with it.

use tokio::{io::AsyncWriteExt, sync::oneshot};

use super::{
    streams::{SETTINGS, frame, next},
    *,
};
use crate::testing::listen;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;

/// The server says of its first connection that it did nothing, once a frame of this kind was here; on the others it answers
/// what has a body.
async fn refusing_at(kind: u8) -> (Origin, Arc<std::sync::atomic::AtomicUsize>) {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let server = listen(move |mut socket, number| {
        count.fetch_add(1, SeqCst);
        async move {
            let _ = tokio::io::AsyncReadExt::read_exact(&mut socket, &mut [0; 24]).await;
            socket.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
            while let Some((came, stream)) = next(&mut socket).await {
                if number == 0 && came == kind {
                    socket.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await.unwrap();
                } else if number > 0 && came == DATA {
                    // ":status: 200", and the end.
                    socket.write_all(&frame(HEADERS, 5, stream, &[0x88])).await.unwrap();
                }
            }
        }
    })
    .await;
    (origin("http", server.port(), Protocol::H2c, None), connections)
}

#[tokio::test]
async fn a_body_of_which_nothing_went_out_is_sent_on_another_connection() {
    let (origin, connections) = refusing_at(HEADERS).await;
    let client = client(options());
    let (body, sent) = fed();
    let (told, asked) = oneshot::channel();
    let asking = tokio::spawn(async move {
        let outcome = outcome(&client, &origin, Request::post("http://a.test/").body(sent).unwrap()).await;
        let _ = told.send(());
        outcome
    });
    // Not before the first attempt is over.
    while connections.load(std::sync::atomic::Ordering::SeqCst) < 2 {
        assert!(!asking.is_finished(), "{:?}", asking.await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    body.send(Ok("body".into())).await.unwrap();
    assert_eq!(asking.await.unwrap(), "200 ");
    asked.await.unwrap();
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_body_of_which_something_went_out_is_not() {
    let (origin, connections) = refusing_at(DATA).await;
    let client = client(options());
    let (body, sent) = fed();
    body.send(Ok("body".into())).await.unwrap();
    let outcome = outcome(&client, &origin, Request::put("http://a.test/").body(sent).unwrap()).await;
    assert!(outcome.starts_with(&format!("{origin}: ")), "{outcome}");
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}
