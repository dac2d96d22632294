use std::{
    fs::File,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn permits(limit: usize) -> Permits {
    Permits::new(limit, || {})
}

fn listen(addresses: &[&str]) -> Result<Vec<Listener>, BindError> {
    let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    bind(&addresses, &mut Inherited::default())
}

/// Answers `hello` to whoever connects, and ends.
fn greet(accepted: Accepted) {
    tokio::spawn(async move {
        let Accepted { mut socket, permit, .. } = accepted;
        let _ = socket.write_all(b"hello").await;
        drop(permit);
    });
}

async fn greeting(address: SocketAddr) -> io::Result<String> {
    let mut text = String::new();
    TcpStream::connect(address).await?.read_to_string(&mut text).await?;
    Ok(text)
}

/// Runs a test of this file, which is ignored otherwise, in a process of its own.
fn in_a_process(test: &str, shell: &str, stdin: Stdio) {
    let name = format!("listen::tests::{test}");
    let status = Command::new("bash")
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--ignored", "--nocapture"])
        .stdin(stdin)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && output.contains("1 passed"), "{output}");
}

#[tokio::test]
async fn both_families_share_a_port_and_the_bound_addresses_are_known() {
    let [four] = &listen(&["0.0.0.0:0"]).unwrap()[..] else { panic!() };
    let six = format!("[::]:{}", four.address().port());
    let mut all = listen(&[&six]).unwrap();
    assert_ne!(four.address().port(), 0);
    assert_eq!(all[0].address().to_string(), six);

    let (sent, mut received) = mpsc::unbounded_channel();
    tokio::spawn(all.remove(0).run(
        permits(1),
        std::future::pending(),
        move |accepted| sent.send((accepted.local, accepted.client, accepted.socket.nodelay().unwrap())).unwrap(),
        |_, _| panic!(),
    ));
    let to = SocketAddr::new("::1".parse().unwrap(), four.address().port());
    let client = TcpStream::connect(to).await.unwrap();
    assert_eq!(received.recv().await.unwrap(), (to, client.local_addr().unwrap(), true));
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = listen(&["127.0.0.1:0"]).unwrap();
    let address = taken[0].address();
    let error = listen(&["127.0.0.1:0", &address.to_string()]).unwrap_err();
    assert_eq!(error.to_string(), format!("can't listen on {address}: Address already in use (os error 98)"));
}

#[tokio::test]
async fn no_more_are_open_than_there_are_permits() {
    let listener = listen(&["127.0.0.1:0"]).unwrap().remove(0);
    let address = listener.address();
    let held = Arc::new(Mutex::new(Vec::new()));
    let holding = held.clone();
    let permits = permits(2);
    let serve = move |accepted| holding.lock().unwrap().push(accepted);
    tokio::spawn(listener.run(permits, std::future::pending(), serve, |_, _| panic!()));
    let _clients = [
        TcpStream::connect(address).await.unwrap(),
        TcpStream::connect(address).await.unwrap(),
        TcpStream::connect(address).await.unwrap(),
    ];
    sleep(Duration::from_millis(50)).await;
    assert_eq!(held.lock().unwrap().len(), 2);
    held.lock().unwrap().remove(0);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(held.lock().unwrap().len(), 2, "the third took the place of the first");
}

#[tokio::test]
async fn what_the_kernel_accepted_before_the_end_is_served() {
    let listener = listen(&["127.0.0.1:0"]).unwrap().remove(0);
    let address = listener.address();
    let clients: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    listener.run(permits(100), std::future::ready(()), greet, |_, _| panic!()).await;
    for client in clients {
        client.set_nonblocking(true).unwrap();
        let mut text = String::new();
        TcpStream::from_std(client).unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }
    assert_eq!(greeting(address).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn who_waits_for_a_permit_at_the_end_is_served() {
    let listener = listen(&["127.0.0.1:0"]).unwrap().remove(0);
    let address = listener.address();
    let end = Arc::new(Notify::new());
    let stop = end.clone();
    let (asked, mut crowded) = mpsc::unbounded_channel();
    let permits = Permits::new(0, move || asked.send(()).unwrap());
    let run = tokio::spawn(async move {
        listener.run(permits, stop.notified(), greet, |_, _| panic!()).await;
    });
    let mut client = TcpStream::connect(address).await.unwrap();
    timeout(LIMIT, crowded.recv()).await.unwrap().unwrap();
    end.notify_one();
    timeout(LIMIT, run).await.unwrap().unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn the_end_comes_while_all_permits_are_out() {
    let listener = listen(&["127.0.0.1:0"]).unwrap().remove(0);
    let end = Arc::new(Notify::new());
    let stop = end.clone();
    let run = tokio::spawn(async move {
        listener.run(permits(0), stop.notified(), greet, |_, _| panic!()).await;
    });
    end.notify_one();
    timeout(LIMIT, run).await.unwrap().unwrap();
}

#[test]
fn running_out_of_descriptors_is_survived() {
    in_a_process("out_of_descriptors", "", Stdio::null());
}

#[tokio::test]
#[ignore = "lowers the limits of its process: run by running_out_of_descriptors_is_survived"]
async fn out_of_descriptors() {
    let listener = listen(&["127.0.0.1:0"]).unwrap().remove(0);
    let address = listener.address();
    let (told, mut faults) = mpsc::unbounded_channel();
    let fault = move |error: &io::Error, pause| told.send((error.raw_os_error(), pause)).unwrap();
    tokio::spawn(listener.run(permits(1000), std::future::pending(), greet, fault));

    let limit = Rlimit { current: Some(64), maximum: Some(64) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let waiting = std::net::TcpStream::connect(address).unwrap();
    let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let client = {
        hoard.pop();
        std::net::TcpStream::connect(address).unwrap()
    };
    for pause in [5, 10, 20] {
        let fault = timeout(LIMIT, faults.recv()).await.unwrap().unwrap();
        assert_eq!(fault, (Some(Errno::MFILE.raw_os_error()), Duration::from_millis(pause)));
    }
    drop(hoard);
    for client in [waiting, client] {
        client.set_nonblocking(true).unwrap();
        let mut text = String::new();
        let mut client = TcpStream::from_std(client).unwrap();
        timeout(LIMIT, client.read_to_string(&mut text)).await.unwrap().unwrap();
        assert_eq!(text, "hello");
    }
}

#[test]
fn sockets_are_handed_over_and_stay_open_for_the_next_owner() {
    let held = StdListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let shell = format!("exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 EXPECTED={address};");
    let client = std::thread::spawn(move || {
        let mut text = String::new();
        io::Read::read_to_string(&mut std::net::TcpStream::connect(address).unwrap(), &mut text).unwrap();
        text
    });
    in_a_process("handed_over", &shell, Stdio::from(OwnedFd::from(held.try_clone().unwrap())));
    assert_eq!(client.join().unwrap(), "hello");
    // Connected while nobody accepts, and still in the queue.
    std::net::TcpStream::connect(address).unwrap();
    held.accept().unwrap();
}

#[tokio::test]
#[ignore = "needs a socket at descriptor 3: run by sockets_are_handed_over_and_stay_open_for_the_next_owner"]
async fn handed_over() {
    let [pid, count, expected] = ["LISTEN_PID", "LISTEN_FDS", "EXPECTED"].map(|name| std::env::var(name).unwrap());
    let take = || Inherited::take(Some(&pid), Some(&count), std::process::id()).unwrap();
    let mut inherited = take();
    assert_eq!(
        inherited.left().map(|address| address.to_string()).collect::<Vec<_>>(),
        std::slice::from_ref(&expected)
    );
    assert_eq!(take().left().count(), 0, "once a process");

    let addresses = [expected.parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let mut listeners = bind(&addresses, &mut inherited).unwrap();
    assert_eq!(inherited.left().count(), 0);
    assert_eq!(listeners[0].address(), addresses[0]);
    assert!(rustix::io::fcntl_getfd(&listeners[0].socket).unwrap().contains(FdFlags::CLOEXEC));
    let end = Arc::new(Notify::new());
    let stop = end.clone();
    let serve = move |accepted| {
        greet(accepted);
        end.notify_one();
    };
    let run = listeners.remove(0).run(permits(1), stop.notified(), serve, |_, _| panic!());
    timeout(LIMIT, run).await.unwrap();
    sleep(Duration::from_millis(50)).await;
}

#[test]
fn variables_that_hand_nothing_over() {
    let own = std::process::id();
    let pid = own.to_string();
    let table = [(None, Some("1")), (Some(pid.as_str()), None), (Some("1"), Some("1")), (Some("x"), Some("1"))];
    for (pid, count) in table {
        assert_eq!(Inherited::take(pid, count, own).unwrap().left().count(), 0, "{pid:?} {count:?}");
    }
    for count in ["", "-1", "x", "65536"] {
        let error = Inherited::take(Some(&pid), Some(count), own).unwrap_err();
        assert_eq!(error.to_string(), format!("LISTEN_FDS is no number of sockets: {count:?}"));
    }
}
