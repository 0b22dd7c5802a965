//! One listening socket per executor on one port (spec: server §2.1).

use std::io;
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream,
};
use std::thread;
use std::time::Duration;

use glommio::net::{TcpListener, TcpStream};
use glommio::timer::sleep;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tracing::warn;

/// How long accepting rests when descriptors or memory have run out.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Old connections of a server that did not set SO_REUSEPORT hold the port for a minute after it
/// has stopped.
const BIND_ATTEMPTS: u32 = 65;
const BIND_PAUSE: Duration = Duration::from_secs(1);
/// How often, and how far apart, a port must be seen in use: the kernel closes the sockets of a
/// killed server a moment after the server is gone.
const RELEASE_ATTEMPTS: u32 = 20;
const RELEASE_PAUSE: Duration = Duration::from_millis(100);
/// How long a server on this machine may take to accept a connection.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// Why a port cannot be listened on.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another process is listening on the port.
    #[error("port {} is already in use by another process", .0.port())]
    InUse(SocketAddr),
    /// This process may not listen on the port.
    #[error(
        "no permission to listen on port {}: ports below 1024 need CAP_NET_BIND_SERVICE \
         (AmbientCapabilities= in the systemd unit)",
        .0.port()
    )]
    Permission(SocketAddr),
    /// Any other failure.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The listening socket failed.
    #[error("socket accept error: {0}")]
    Accept(io::Error),
}

impl ListenError {
    fn bind(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::Permission(address),
            _ => Self::Bind { address, source },
        }
    }
}

/// An address that no other process listens on, kept free for the executors of this one.
///
/// Executors share a port with SO_REUSEPORT, which would also let a second server of the same user
/// join in silently and take half of the connections.
#[derive(Debug)]
pub struct Reservation {
    address: SocketAddr,
    /// Bound but not listening: it gets no connections.
    _socket: Socket,
}

impl Reservation {
    /// Reserves `port` (0 for any free one) on `ip`; without `ip` on all addresses, IPv6 and IPv4
    /// or IPv4 alone where the host has no IPv6.
    pub fn new(ip: Option<IpAddr>, port: u16) -> Result<Self, ListenError> {
        let Some(ip) = ip else {
            return match Self::of(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
                Err(ListenError::Bind { source, .. }) if lacks_ipv6(&source) => {
                    Self::of(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
                }
                other => other,
            };
        };
        Self::of(SocketAddr::from((ip, port)))
    }

    fn of(address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |source| ListenError::bind(address, source);
        if address.port() != 0 {
            // Without SO_REUSEPORT this fails if anyone is listening. It also fails for a minute
            // after a server with connected clients has stopped: then nobody is listening.
            match StdListener::bind(address) {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse && !stays_served(address) => {}
                probe => drop(probe.map_err(failed)?),
            }
        }
        let socket = reserve(address).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?.as_socket();
        Ok(Self {
            address: bound.unwrap_or(address),
            _socket: socket,
        })
    }

    /// The reserved address, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Whether somebody accepts connections at `address` and goes on doing so.
fn stays_served(address: SocketAddr) -> bool {
    (0..RELEASE_ATTEMPTS).all(|attempt| {
        if attempt > 0 {
            thread::sleep(RELEASE_PAUSE);
        }
        is_served(address)
    })
}

/// Whether somebody accepts connections at `address`, of this machine.
fn is_served(address: SocketAddr) -> bool {
    let ips: &[IpAddr] = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => &[
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(Ipv4Addr::LOCALHOST),
        ],
        ip => &[ip],
    };
    ips.iter().any(|ip| {
        let address = SocketAddr::new(*ip, address.port());
        // A socket that happens to get the port for its own end connects to itself.
        StdStream::connect_timeout(&address, PROBE_TIME)
            .is_ok_and(|tcp| tcp.local_addr().is_ok_and(|own| own != address))
    })
}

fn reserve(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// The listening socket of one executor.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
}

impl Listener {
    /// Listens on a reserved address in the current executor; every executor binds its own, and
    /// the kernel spreads connections over them.
    ///
    /// Waits up to a minute for a port still held by connections of a previous server.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let mut attempt = 1;
        loop {
            match TcpListener::bind(address).map_err(io::Error::from) {
                Ok(tcp) => return Ok(Self { tcp }),
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse && attempt < BIND_ATTEMPTS =>
                {
                    if attempt == 1 {
                        warn!("{address} is held by connections of a stopped server, waiting");
                    }
                    attempt += 1;
                    sleep(BIND_PAUSE).await;
                }
                Err(error) => return Err(ListenError::bind(address, error)),
            }
        }
    }

    /// The next connection. Failures of single connections are logged and skipped, running out of
    /// descriptors or memory is logged once and waited out; an error means the socket is dead.
    pub async fn accept(&self) -> Result<TcpStream, ListenError> {
        let mut exhausted = false;
        loop {
            let error = match self.tcp.accept().await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => io::Error::from(error),
            };
            match Recovery::of(&error) {
                Recovery::Retry => warn!("socket accept error: {error}"),
                Recovery::Wait => {
                    if !exhausted {
                        warn!("socket accept error, waiting: {error}");
                    }
                    exhausted = true;
                    sleep(EXHAUSTED_PAUSE).await;
                }
                Recovery::None => return Err(ListenError::Accept(error)),
            }
        }
    }
}

/// What an accept error means for the listener.
#[derive(Debug, PartialEq, Eq)]
enum Recovery {
    /// It concerns one connection.
    Retry,
    /// It concerns every connection until something is released.
    Wait,
    /// The listening socket is unusable.
    None,
}

impl Recovery {
    fn of(error: &io::Error) -> Self {
        match errno(error) {
            Some(
                Errno::CONNABORTED
                | Errno::AGAIN
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::PERM,
            ) => Self::Retry,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Self::Wait,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::{LocalExecutorBuilder, Placement};

    fn run<T>(future: impl Future<Output = T>) -> T {
        LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(64 << 10)
            .make()
            .unwrap()
            .run(future)
    }

    #[test]
    fn a_free_port_is_chosen_and_shared_by_executors() {
        let localhost = IpAddr::from([127, 0, 0, 1]);
        let reservation = Reservation::new(Some(localhost), 0).unwrap();
        let address = reservation.address();
        assert_ne!(address.port(), 0);
        run(async {
            let one = Listener::bind(address).await.unwrap();
            let _other = Listener::bind(address).await.unwrap();
            drop(_other);
            let client = TcpStream::connect(address).await.unwrap();
            let accepted = one.accept().await.unwrap();
            assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
        });
    }

    #[test]
    fn a_port_another_server_listens_on_is_refused() {
        let localhost = IpAddr::from([127, 0, 0, 1]);
        let reservation = Reservation::new(Some(localhost), 0).unwrap();
        let address = reservation.address();
        run(async {
            let _other = Listener::bind(address).await.unwrap();
            let error = Reservation::new(Some(localhost), address.port()).unwrap_err();
            let port = address.port();
            let text = format!("port {port} is already in use by another process");
            assert_eq!(error.to_string(), text);
        });
    }

    #[test]
    fn without_an_address_both_families_are_served() {
        let reservation = Reservation::new(None, 0).unwrap();
        let port = reservation.address().port();
        run(async {
            let listener = Listener::bind(reservation.address()).await.unwrap();
            let _client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            listener.accept().await.unwrap();
        });
    }

    #[test]
    fn accept_errors_are_classified() {
        let of = |errno: Errno| Recovery::of(&errno.into());
        assert_eq!(of(Errno::CONNABORTED), Recovery::Retry);
        assert_eq!(of(Errno::HOSTUNREACH), Recovery::Retry);
        assert_eq!(of(Errno::MFILE), Recovery::Wait);
        assert_eq!(of(Errno::NFILE), Recovery::Wait);
        assert_eq!(of(Errno::BADF), Recovery::None);
        assert_eq!(of(Errno::INVAL), Recovery::None);
    }
}
