//! Listening sockets: bound by ourselves or handed over by a supervisor, and the loop that accepts on one. It knows no
//! protocol; whatever goes wrong with one connection, the loop goes on.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::{AsFd, FromRawFd, OwnedFd, RawFd},
    pin::pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use rustix::{
    io::{Errno, FdFlags, fcntl_setfd},
    net::sockopt,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::permits::{Permit, Permits};

/// Connections that the kernel completes and keeps for us; it takes its own bound where that is lower.
const BACKLOG: u32 = 4096;

/// The first descriptor that is handed over: sd_listen_fds(3).
const FIRST: RawFd = 3;

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {source}")]
pub struct BindError {
    pub address: SocketAddr,
    pub source: io::Error,
}

#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    #[error("LISTEN_FDS is no number of sockets: {0:?}")]
    Count(String),
    #[error("descriptor {number}, which LISTEN_FDS counts, is no listening TCP socket")]
    Socket { number: RawFd },
    #[error("descriptor {number}, which LISTEN_FDS counts: {source}")]
    Descriptor { number: RawFd, source: io::Error },
}

/// Sockets that a supervisor handed over, until a listener takes them.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(StdListener, SocketAddr)>);

impl Inherited {
    /// The sockets that LISTEN_FDS counts, where LISTEN_PID is ours. `pid` and `count` are the values of these variables,
    /// read by the caller; `own` is the process's id. Only the first call in a process can find any: a descriptor has one
    /// owner.
    pub fn take(pid: Option<&str>, count: Option<&str>, own: u32) -> Result<Self, InheritError> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let (Some(pid), Some(count)) = (pid, count) else {
            return Ok(Self::default());
        };
        if pid.parse() != Ok(own) {
            return Ok(Self::default());
        }
        let count = count.parse::<u16>().map_err(|_| InheritError::Count(count.into()))?;
        if TAKEN.swap(true, Relaxed) {
            return Ok(Self::default());
        }
        (FIRST..FIRST + RawFd::from(count)).map(adopt).collect::<Result<_, _>>().map(Self)
    }

    /// Addresses of sockets that no listener took.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|(_, address)| *address)
    }

    fn claim(&mut self, address: SocketAddr) -> Option<StdListener> {
        let found = self.0.iter().position(|(_, own)| *own == address)?;
        Some(self.0.swap_remove(found).0)
    }
}

fn adopt(number: RawFd) -> Result<(StdListener, SocketAddr), InheritError> {
    let failed = |source: Errno| match source {
        Errno::NOTSOCK => InheritError::Socket { number },
        _ => InheritError::Descriptor { number, source: source.into() },
    };
    #[expect(unsafe_code, reason = "descriptors are handed over as numbers, and there is no safe way to own one")]
    // SAFETY: the supervisor opened it for this process, before it began, and by the flag in `take` it is owned once.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC).map_err(failed)?;
    if !sockopt::socket_acceptconn(&descriptor).map_err(failed)? {
        return Err(InheritError::Socket { number });
    }
    let listener = StdListener::from(descriptor);
    let address = listener.local_addr().map_err(|_| InheritError::Socket { number })?;
    Ok((listener, address))
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    inherited: bool,
}

/// A connection from a client.
#[derive(Debug)]
pub struct Accepted {
    pub socket: TcpStream,
    pub client: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// Counts the connection: to be dropped when it ends.
    pub permit: Permit,
}

/// Listens on each of `addresses`, or on none. Sockets in `inherited` are used where the address is the same. An IPv6
/// socket takes IPv6 alone, so that both families can be listed for one port.
pub fn bind(addresses: &[SocketAddr], inherited: &mut Inherited) -> Result<Vec<Listener>, BindError> {
    let one = |address: &SocketAddr| {
        let claimed = inherited.claim(*address);
        Listener::open(*address, claimed).map_err(|source| BindError { address: *address, source })
    };
    addresses.iter().map(one).collect()
}

impl Listener {
    fn open(address: SocketAddr, claimed: Option<StdListener>) -> io::Result<Self> {
        let inherited = claimed.is_some();
        let socket = if let Some(claimed) = claimed {
            claimed.set_nonblocking(true)?;
            TcpListener::from_std(claimed)?
        } else {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            if address.is_ipv6() {
                sockopt::set_ipv6_v6only(&socket, true)?;
            }
            socket.bind(address)?;
            socket.listen(BACKLOG)?
        };
        // Accepted sockets have what the listening one has: one call instead of one a connection.
        sockopt::set_tcp_nodelay(socket.as_fd(), true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, inherited })
    }

    /// The address bound, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives each connection to `serve`, which must not wait (it spawns a task), until `stop`. As many as `permits`
    /// allows are open at once; more wait in the kernel's queue. Faults that last are told to `fault` with the pause
    /// before the next try. After `stop`, one that waits for a permit gets it, and what the kernel has already accepted is
    /// taken too, unless the socket was handed over: then its next owner takes it.
    pub async fn run(
        self,
        permits: Permits,
        stop: impl Future<Output = ()>,
        mut serve: impl FnMut(Accepted),
        mut fault: impl FnMut(&io::Error, Duration),
    ) {
        let mut stop = pin!(stop);
        let mut pause = SHORTEST_PAUSE;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, client)) => {
                    pause = SHORTEST_PAUSE;
                    // After it came, so that nobody has to leave before somebody is at the door.
                    let (permit, stopped) = tokio::select! {
                        biased;
                        permit = permits.wait() => (permit, false),
                        // It is in, and can't be handed back: one more than may be.
                        () = &mut stop => (permits.force(), true),
                    };
                    // It fails where the client is gone.
                    if let Ok(accepted) = accepted_by(self.address, socket, client, permit) {
                        serve(accepted);
                    }
                    if stopped {
                        break;
                    }
                }
                Err(error) if is_one_connections(&error) => {}
                Err(error) => {
                    if is_want_of_descriptors(&error) {
                        permits.crowd();
                    }
                    fault(&error, pause);
                    tokio::select! {
                        () = &mut stop => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
        if !self.inherited {
            // Its last error is that there is nothing left.
            let _ = self.accept_rest(&permits, serve);
        }
    }

    /// Asks the kernel itself: the runtime may not have heard yet that there is something.
    fn accept_rest(self, permits: &Permits, mut serve: impl FnMut(Accepted)) -> io::Result<()> {
        let address = self.address;
        let socket = self.socket.into_std()?;
        while let Some(permit) = permits.take() {
            let (socket, client) = match socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if is_one_connections(&error) => continue,
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            serve(accepted_by(address, TcpStream::from_std(socket)?, client, permit)?);
        }
        Ok(())
    }
}

fn accepted_by(listener: SocketAddr, socket: TcpStream, client: SocketAddr, permit: Permit) -> io::Result<Accepted> {
    let local = if listener.ip().is_unspecified() { socket.local_addr()? } else { listener };
    Ok(Accepted { socket, client, local, permit })
}

/// Whether an error of `accept` is about the connection that would have come, and the next may well be there: accept(2)
/// hands over what is pending on the new socket.
fn is_one_connections(error: &io::Error) -> bool {
    let errors = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::NETDOWN,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
        Errno::TIMEDOUT,
        Errno::PERM,
    ];
    Errno::from_io_error(error).is_some_and(|error| errors.contains(&error))
}

/// Whether it would help if somebody left.
fn is_want_of_descriptors(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|error| matches!(error, Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests;
