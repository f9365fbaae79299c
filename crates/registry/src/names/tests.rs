use std::net::TcpListener;
use std::thread;

use super::*;
use crate::dns::tests::answer;

#[test]
fn a_hosts_file_is_read_line_by_line() {
    let text = "127.0.0.1 localhost me # registry\n::1 localhost\nnonsense registry\n10.0.0.1\tRegistry other\n";
    let read = |host| listed(text, host).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(read("localhost"), ["127.0.0.1", "::1"]);
    assert_eq!(read("registry"), ["10.0.0.1"]);
    assert!(read("unknown").is_empty());
}

#[test]
fn a_resolv_conf_is_read_as_the_c_library_does() {
    let names = Names::configured(
        "# x\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver ::2\nsearch a.example b.example\n\
         options ndots:2 timeout:3 attempts:9 rotate\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
    );
    assert_eq!(names.servers, ["10.0.0.1:53", "[::2]:53", "10.0.0.3:53"].map(|text| text.parse().unwrap()));
    assert_eq!((names.dots, names.timeout, names.attempts), (2, Duration::from_secs(3), 5));
    assert_eq!(names.candidates("registry.c"), ["registry.c.a.example", "registry.c.b.example", "registry.c"]);
    assert_eq!(names.candidates("r.c.d"), ["r.c.d", "r.c.d.a.example", "r.c.d.b.example"]);
    assert_eq!(names.candidates("r."), ["r."]);
    assert_eq!(Names::configured("").servers, ["127.0.0.1:53".parse().unwrap()]);
}

/// A server that knows `registry.example`, by TCP only if `long`.
fn server(long: bool) -> SocketAddr {
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = datagrams.local_addr().unwrap();
    let stream = TcpListener::bind(at).unwrap();
    let here: IpAddr = "10.1.2.3".parse().unwrap();
    let told = move |question: &[u8], long| match question {
        _ if !question.windows(9).any(|part| part == b"\x08registry") => answer(question, 3, &[]),
        _ if long => answer(question, 0x200, &[]),
        _ => answer(question, 0, &[here, "2001:db8::1".parse().unwrap()]),
    };
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
            datagrams.send_to(b"not an answer", from).unwrap();
            datagrams.send_to(&told(&buffer[..length], long), from).unwrap();
        }
    });
    thread::spawn(move || {
        for stream in stream.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            let answer = told(&question, false);
            stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    at
}

fn names(servers: Vec<SocketAddr>) -> Names {
    Names { servers, search: vec!["example".to_owned()], dots: 1, timeout: Duration::from_secs(20), attempts: 1 }
}

#[test]
fn names_are_looked_up_by_datagram_and_by_stream() {
    let expected: Vec<IpAddr> = ["2001:db8::1", "10.1.2.3"].map(|text| text.parse().unwrap()).into();
    for long in [false, true] {
        let names = names(vec![server(long)]);
        assert_eq!(names.look_up("registry").unwrap(), expected);
        assert_eq!(names.look_up("registry.example").unwrap(), expected);
        assert_eq!(names.look_up("other").unwrap_err(), "no address is known for `other`");
        assert_eq!(names.look_up("..").unwrap_err(), "no address is known for `..`");
    }
}

#[test]
fn the_next_server_is_asked_if_one_is_away() {
    // Bound and closed again: the kernel refuses datagrams there at once.
    let away = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(names(vec![away, server(false)]).look_up("registry").is_ok());
    let error = names(vec![away]).look_up("registry").unwrap_err();
    assert_eq!(error, "no name server answers for `registry` (asked 127.0.0.1)");
}
