//! Servers that answer before all of a request is there, and close without having read it: what they said is heard.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use tokio::io::AsyncWriteExt as _;

use super::*;

const LARGE: usize = 4 << 20;

/// A body of which a little comes at first, and the rest when the server has left.
struct Late {
    turn: usize,
    ask: mpsc::Sender<()>,
    left: mpsc::Receiver<()>,
}

impl Body for Late {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.turn += 1;
        let piece = match self.turn {
            1 => Bytes::from_static(b"x"),
            // So that it goes out with the head.
            2 => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            3 => {
                // Nothing is read between the server's answer and our writing.
                self.ask.send(()).unwrap();
                self.left.recv().unwrap();
                vec![0; LARGE].into()
            }
            _ => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

/// Sends a request to a server that says `answer` and leaves when our writing is under way.
async fn left_with(answer: &'static str) -> (Origin, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = origin("http", listener.local_addr().unwrap().port(), Protocol::Http1, None);
    let ((ask, asked), (leave, left)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        head(&mut socket);
        // What lies there unread makes the end a reset.
        socket.peek(&mut [0]).unwrap();
        asked.recv().unwrap();
        socket.write_all(answer.as_bytes()).unwrap();
        drop(socket);
        leave.send(()).unwrap();
    });
    let request = Request::post("/").body(Late { turn: 0, ask, left }).unwrap();
    let outcome = outcome(&client(options()), &origin, request).await;
    (origin, outcome)
}

fn head(socket: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
}

#[tokio::test]
async fn what_is_said_before_a_reset_is_the_answer() {
    for (answer, expected) in [
        ("HTTP/1.1 413 No\r\nconnection: close\r\ncontent-length: 8\r\n\r\ntoo much", "413 too much"),
        ("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno", "403 no"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno", "403 no"),
    ] {
        assert_eq!(left_with(answer).await.1, expected, "{answer}");
    }
    // What is not whole is none, and the reason is what our writing met.
    for answer in ["", "HTTP/1.1 413 N", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let (origin, said) = left_with(answer).await;
        assert_eq!(said, format!("{origin}: connection error: Connection reset by peer (os error 104)"), "{answer}");
    }
    let (_, said) = left_with("HTTP/1.1 403 No\r\ncontent-length: 3\r\n\r\nno").await;
    assert!(said.starts_with("403, then "), "{said}");
}

#[tokio::test]
async fn who_leaves_behind_an_answer_holds_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = origin("http", listener.local_addr().unwrap().port(), Protocol::Http1, None);
    let (leave, left) = mpsc::channel::<()>();
    thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        head(&mut socket);
        // And a little more, which nobody reads.
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokay").unwrap();
        left.recv().unwrap();
        drop(socket);
    });
    let (feed, body) = fed();
    let client = client(options());
    assert_eq!(outcome(&client, &origin, Request::post("/").body(body).unwrap()).await, "200 ok");
    leave.send(()).unwrap();
    let unwanted = async { while feed.send(Ok(vec![0; LARGE].into())).await.is_ok() {} };
    tokio::time::timeout(LIMIT, unwanted).await.expect("the body is let go of");
}

/// Its end was heard before: nothing more is waited for.
#[tokio::test]
async fn an_upgraded_connection_that_is_gone_takes_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = origin("http", listener.local_addr().unwrap().port(), Protocol::Http1, None);
    thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        head(&mut socket);
        socket.write_all(b"HTTP/1.1 101 No\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").unwrap();
        socket.shutdown(Shutdown::Both).unwrap();
    });
    let mut request = request(Method::GET, "/");
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    let response = client(options()).send(&origin, request).await.unwrap();
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let piece = vec![0; LARGE];
    let unwanted = async { while stream.write_all(&piece).await.is_ok() {} };
    tokio::time::timeout(LIMIT, unwanted).await.expect("an error");
}
