//! Terminals: handed over the console socket, or relayed in the foreground.

use std::fs::File;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::json;

use crate::harness::Bundle;
use crate::lifecycle::silently;

/// The name and the descriptor that somebody sends.
fn receive(listener: &UnixListener) -> (String, File) {
    let (connection, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    let received =
        rustix::net::recvmsg(&connection, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC);
    let length = received.unwrap().bytes;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let descriptor: OwnedFd = descriptor.unwrap();
    (String::from_utf8(name[..length].to_vec()).unwrap(), descriptor.into())
}

fn read_until(master: &mut File, wanted: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    while !text.contains(wanted) {
        match master.read(&mut buffer) {
            Ok(length) if length > 0 => text.push_str(&String::from_utf8_lossy(&buffer[..length])),
            _ => panic!("the terminal ended after {text:?}"),
        }
    }
    text
}

#[test]
fn the_master_comes_over_the_console_socket() {
    let mut bundle = Bundle::new("tty; stty size; read x; echo got $x; sleep 1000");
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.spec["process"]["consoleSize"] = json!({"height": 24, "width": 81});
    bundle.write();
    let socket = bundle.file("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let (place, path) = (bundle.directory.to_str().unwrap(), socket.to_str().unwrap());
    silently(bundle.runtime(&["create", "-b", place, "--console-socket", path, &bundle.id]));
    let (name, mut master) = receive(&listener);
    assert_eq!(name, "/dev/ptmx");
    bundle.ok(&["start", &bundle.id]);
    let shown = read_until(&mut master, "81");
    assert!(shown.contains("/dev/") && shown.contains("24 81"), "{shown:?}");
    master.write_all(b"words\n").unwrap();
    read_until(&mut master, "got words");
    silently(bundle.runtime(&["exec", "-d", "-t", "--console-socket", path, &bundle.id, "sh", "-c", "tty; sleep 5"]));
    let (_, mut master) = receive(&listener);
    assert!(read_until(&mut master, "/dev/pts/1").contains("/dev/pts/1"));
}

#[test]
fn a_terminal_needs_somebody_who_takes_it() {
    let mut bundle = Bundle::new("true");
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.write();
    let place = bundle.directory.to_str().unwrap().to_owned();
    let refused = bundle.call(&["create", "-b", &place, &bundle.id]);
    assert!(refused.stderr.contains("without setting console socket"), "{}", refused.stderr);
    let refused = bundle.call(&["create", "-b", &place, "--console-socket", "/nosuch", &bundle.id]);
    assert!(refused.stderr.contains("cannot connect to the console socket"), "{}", refused.stderr);
    bundle.spec["process"]["terminal"] = json!(false);
    bundle.write();
    let refused = bundle.call(&["create", "-b", &place, "--console-socket", "/nosuch", &bundle.id]);
    assert!(refused.stderr.contains("cannot use console socket"), "{}", refused.stderr);
    assert!(!bundle.file("state").exists());
}

#[test]
fn run_relays_the_terminal_in_the_foreground() {
    let mut bundle = Bundle::new("tty; echo $((6 * 7)); exit 5");
    bundle.spec["process"]["terminal"] = json!(true);
    let outcome = bundle.run();
    assert_eq!(outcome.code, 5, "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "/dev/pts/0\r\n42\r\n");
}
