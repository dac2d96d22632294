//! As many streams at once as the peer allows, and what becomes of requests beyond them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use hyper::{body::Incoming as Received, service::service_fn};
use hyper_util::rt::TokioExecutor;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::testing::listen;

/// Requests that a server has begun and not answered, by connection, and the most that there were.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<HashMap<usize, (usize, usize)>>>);

impl Begun {
    fn change(&self, connection: usize, by: impl FnOnce(usize) -> usize) -> usize {
        let mut all = self.0.lock().unwrap();
        let (now, most) = all.entry(connection).or_default();
        *now = by(*now);
        *most = (*most).max(*now);
        all.values().map(|(now, _)| now).sum()
    }

    /// The most at once, a connection.
    fn most(&self) -> Vec<usize> {
        let all = self.0.lock().unwrap();
        let mut most: Vec<_> = all.iter().map(|(number, (_, most))| (*number, *most)).collect();
        most.sort_unstable();
        most.into_iter().map(|(_, most)| most).collect()
    }
}

/// A server that takes so many streams a connection, and connections while `welcome` says so. It answers where there is a
/// permit, and tells how many requests wait for one.
fn server(
    streams: u32,
    welcome: fn(usize) -> bool,
    permits: &Arc<Semaphore>,
) -> (Begun, watch::Receiver<usize>, impl Fn(TcpStream, usize) -> BoxFuture + Send + 'static) {
    let (begun, permits) = (Begun::default(), permits.clone());
    let (tell, waiting) = watch::channel(0);
    let seen = begun.clone();
    let tell = Arc::new(tell);
    let serve = move |socket, number| -> BoxFuture {
        let (begun, permits, tell) = (begun.clone(), permits.clone(), tell.clone());
        Box::pin(async move {
            if !welcome(number) {
                return;
            }
            let answer = service_fn(move |_: Request<Received>| {
                let (begun, permits, tell) = (begun.clone(), permits.clone(), tell.clone());
                async move {
                    tell.send_replace(begun.change(number, |now| now + 1));
                    let _end = Ended(move || _ = tell.send_replace(begun.change(number, |now| now - 1)));
                    permits.acquire().await.unwrap().forget();
                    Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::from("x")))
                }
            });
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.max_concurrent_streams(streams).serve_connection(TokioIo::new(socket), answer).await;
        })
    };
    (seen, waiting, serve)
}

/// Calls what it holds, also where a request is given up.
struct Ended<F: FnMut()>(F);

impl<F: FnMut()> Drop for Ended<F> {
    fn drop(&mut self) {
        self.0();
    }
}

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

fn ask(client: &Client, origin: &Origin, count: usize) -> Vec<JoinHandle<String>> {
    let one = |_| {
        let (client, origin) = (client.clone(), origin.clone());
        tokio::spawn(async move { get(&client, &origin).await })
    };
    (0..count).map(one).collect()
}

async fn answers(asked: Vec<JoinHandle<String>>) -> Vec<String> {
    let mut answers = Vec::new();
    for one in asked {
        answers.push(timeout(LIMIT, one).await.expect("an answer").unwrap());
    }
    answers
}

async fn at(waiting: &mut watch::Receiver<usize>, count: usize) {
    timeout(LIMIT, waiting.wait_for(|now| *now == count)).await.expect("so many at once").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_connections_are_joined_by_others_and_then_requests_wait() {
    let permits = Arc::new(Semaphore::new(0));
    let (begun, mut waiting, serve) = server(4, |_| true, &permits);
    let origin = origin("http", listen(serve).await.port(), Protocol::H2c, None);
    let client = client(options());
    let asked = ask(&client, &origin, 40);
    // Nothing is answered yet: all that may be begun is.
    at(&mut waiting, 32).await;
    permits.add_permits(1);
    let one = async {
        while !asked.iter().any(JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, one).await.expect("an answer");
    at(&mut waiting, 32).await;
    permits.add_permits(1000);
    assert_eq!(answers(asked).await, vec!["200 x"; 40]);
    assert_eq!(answers(ask(&client, &origin, 40)).await, vec!["200 x"; 40]);
    assert_eq!(begun.most(), vec![4; 8]);
}

/// First come, first served; also where one gives up, and where one comes just as a stream ends.
#[tokio::test]
async fn requests_wait_in_the_order_in_which_they_came() {
    let (_, _, serve) = server(1, |number| number == 0, &Arc::new(Semaphore::new(1000)));
    let origin = origin("http", listen(serve).await.port(), Protocol::H2c, None);
    let client = client(options());
    assert_eq!(get(&client, &origin).await, "200 x");
    let done = Arc::new(Mutex::new(Vec::new()));
    let ask = |number: usize| {
        let (client, origin, done) = (client.clone(), origin.clone(), done.clone());
        async move {
            assert_eq!(get(&client, &origin).await, "200 x");
            done.lock().unwrap().push(number);
        }
    };
    let slot = client.pool.slot(&origin);
    let held = slot.shared.take(&slot).expect("the stream that is free again");
    let mut asked = Vec::new();
    for number in 1..6 {
        asked.push(tokio::spawn(ask(number)));
        let queued = async {
            while slot.shared.waiting() < number {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, queued).await.expect("a place in the queue");
    }
    asked.remove(1).abort();
    drop(held);
    // Before the task runs that was told of it.
    let mut late = pin!(ask(6));
    tokio::select! {
        biased;
        () = &mut late => unreachable!("it has to wait"),
        () = std::future::ready(()) => {}
    }
    timeout(LIMIT, late).await.expect("an answer");
    assert_eq!(*done.lock().unwrap(), [1, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_connection_that_is_refused_costs_nobody_an_answer() {
    let permits = Arc::new(Semaphore::new(0));
    let (begun, mut waiting, serve) = server(2, |number| number == 0, &permits);
    let origin = origin("http", listen(serve).await.port(), Protocol::H2c, None);
    let client = client(options());
    let asked = ask(&client, &origin, 10);
    at(&mut waiting, 2).await;
    permits.add_permits(1000);
    assert_eq!(answers(asked).await, vec!["200 x"; 10]);
    assert_eq!(begun.most(), [2]);
}

/// Also where the answer is here before the whole of the request is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_free_again_however_it_ends() {
    let permits = Arc::new(Semaphore::new(0));
    let (begun, mut waiting, serve) = server(1, |number| number == 0, &permits);
    let origin = origin("http", listen(serve).await.port(), Protocol::H2c, None);
    let client = client(options());
    // Its client goes away.
    let given_up = ask(&client, &origin, 1);
    at(&mut waiting, 1).await;
    given_up.into_iter().for_each(|one| one.abort());
    at(&mut waiting, 0).await;
    let asked = ask(&client, &origin, 2);
    permits.add_permits(2);
    assert_eq!(answers(asked).await, ["200 x"; 2]);
    // Its request's body goes on behind the answer.
    permits.add_permits(1);
    let (body, sent) = fed();
    let upload = Request::post("http://a.test/").body(sent).unwrap();
    assert_eq!(outcome(&client, &origin, upload).await, "200 x");
    let next = ask(&client, &origin, 1);
    permits.add_permits(1);
    drop(body);
    assert_eq!(answers(next).await, ["200 x"]);
    // Its response's body is not read to its end.
    permits.add_permits(2);
    drop(client.send(&origin, request(Method::GET, "http://a.test/")).await.unwrap());
    assert_eq!(get(&client, &origin).await, "200 x");
    assert_eq!(begun.most(), [1]);
}

pub(super) const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// The next frame's kind, and its stream.
pub(super) async fn next(socket: &mut TcpStream) -> Option<(u8, u32)> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    socket.read_exact(&mut vec![0; length as usize]).await.ok()?;
    Some((head[3], u32::from_be_bytes(head[5..].try_into().unwrap())))
}

/// Reads frames until so many heads of requests came; says on which streams.
async fn heads(socket: &mut TcpStream, count: usize) -> Vec<u32> {
    let mut streams = Vec::new();
    while streams.len() < count {
        let (kind, stream) = next(socket).await.unwrap();
        if kind == HEADERS {
            streams.push(stream);
        }
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_may_allow_more_later() {
    let server = listen(|mut socket, number| async move {
        if number > 0 {
            return;
        }
        let allow = |streams: u8| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, streams]);
        socket.read_exact(&mut [0; 24]).await.unwrap();
        // None is as good as no settings yet.
        socket.write_all(&[allow(0), allow(3)].concat()).await.unwrap();
        let mut streams = heads(&mut socket, 3).await;
        socket.write_all(&allow(6)).await.unwrap();
        streams.extend(heads(&mut socket, 3).await);
        for stream in streams {
            // ":status: 200", and the end.
            socket.write_all(&frame(HEADERS, 5, stream, &[0x88])).await.unwrap();
        }
        let _ = socket.read(&mut [0; 1024]).await;
    })
    .await;
    let origin = origin("http", server.port(), Protocol::H2c, None);
    let client = client(options());
    let asked = ask(&client, &origin, 6);
    assert_eq!(answers(asked).await, vec!["200 "; 6]);
}

#[tokio::test]
async fn a_peer_without_settings_is_no_peer() {
    let server = listen(|socket, _| async move {
        let _held = socket;
        std::future::pending::<()>().await;
    })
    .await;
    let origin = origin("http", server.port(), Protocol::H2c, None);
    let client = client(Options { connect: Duration::from_millis(100), ..options() });
    let error = client.send(&origin, request(Method::GET, "/")).await.err().unwrap();
    assert!(matches!(error, SendError::Connect(DialError::Silent { .. })), "{error:?}");
}
