mod again;
mod early;
mod http1;
mod http2;
mod streams;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{Version, header::HOST};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use super::*;
use crate::{
    Egress, HTTP, SystemRoots, Tls,
    testing::{Everywhere, LIMIT},
};

fn options() -> Options {
    Options { connect: LIMIT, head: LIMIT, idle: LIMIT, idle_per_origin: 2 }
}

fn client(options: Options) -> Client {
    Client::new(Everywhere::at(&["127.0.0.1"]).dialler(), options)
}

fn origin(scheme: &str, port: u16, protocol: Protocol, tls: Option<&Tls>) -> Origin {
    let system = Tls::system(&SystemRoots::default(), HTTP);
    let uri = format!("{scheme}://a.test:{port}").parse().unwrap();
    Origin::new(&uri, protocol, tls.unwrap_or(&system), Egress::Any).unwrap()
}

fn request(method: Method, uri: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(method).uri(uri).body(Empty::new()).unwrap()
}

/// Status and body, or what went wrong.
async fn outcome<B>(client: &Client, origin: &Origin, request: Request<B>) -> String
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    match client.send(origin, request).await {
        Err(error) => error.to_string(),
        Ok(response) => {
            let status = response.status().as_u16();
            match response.into_body().collect().await {
                Ok(body) => format!("{status} {}", String::from_utf8_lossy(&body.to_bytes())),
                Err(error) => format!("{status}, then {error}"),
            }
        }
    }
}

async fn get(client: &Client, origin: &Origin) -> String {
    outcome(client, origin, request(Method::GET, "http://a.test/")).await
}

/// A body that is what a channel gives.
struct Fed(mpsc::Receiver<Result<Bytes, BoxError>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|item| item.map(|item| item.map(Frame::data)))
    }
}

fn fed() -> (mpsc::Sender<Result<Bytes, BoxError>>, Fed) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Fed(receiver))
}
