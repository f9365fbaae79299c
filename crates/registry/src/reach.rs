//! A TCP connection to the first of a host's addresses that answers.
//!
//! The next address is tried when one fails, and also when one is slow (RFC 8305, "happy eyeballs"), without giving up the
//! slow one: whichever connects first is used. One thread, so all of them wait in one `poll`.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

/// After this time the next address is tried as well.
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to one of the addresses before the deadline.
pub(crate) fn reach(addresses: &[IpAddr], port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut waiting: Vec<OwnedFd> = Vec::new();
    let mut addresses = addresses.iter();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let next = addresses.next();
        if let Some(address) = next {
            match begin((*address, port).into()) {
                Ok(socket) => waiting.push(socket),
                Err(error) => {
                    last = error.into();
                    continue;
                }
            }
        }
        if waiting.is_empty() {
            return Err(last);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let more = addresses.len() > 0;
        for index in ready(&waiting, if more { left.min(HEAD_START) } else { left })?.into_iter().rev() {
            let socket = waiting.remove(index);
            match sockopt::socket_error(&socket)? {
                Ok(()) => return blocking(socket),
                Err(error) => last = error.into(),
            }
        }
    }
}

fn begin(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Which sockets have connected or failed, in order.
fn ready(sockets: &[OwnedFd], wait: Duration) -> io::Result<Vec<usize>> {
    let mut polled: Vec<_> = sockets.iter().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
    let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
    match poll(&mut polled, Some(&wait)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let over = polled.iter().enumerate().filter(|(_, one)| !one.revents().is_empty());
    Ok(over.map(|(index, _)| index).collect())
}

fn blocking(socket: OwnedFd) -> io::Result<TcpStream> {
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_address_that_answers_is_used() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let deadline = Instant::now() + Duration::from_secs(60);
        // Nobody listens at the first; the second is there.
        let addresses = ["127.0.0.2", "127.0.0.1"].map(|text| text.parse().unwrap());
        let stream = reach(&addresses, port, deadline).unwrap();
        assert_eq!(stream.peer_addr().unwrap().to_string(), format!("127.0.0.1:{port}"));
        let error = reach(&addresses[..1], port, deadline).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(reach(&[], port, deadline).is_err());
    }
}
