//! Terminals: `-it` as a person uses it, through a real pseudo-terminal that a small Python driver holds.

use crate::harness::{IMAGE, Skep};
use std::process::Command;

/// Runs `argv[2:]` on a new terminal of 24 x 80 and walks the steps in `argv[1]`: `expect` waits for text in what the
/// terminal showed since the last match, `send` types, `resize` changes the size, `end` waits for the end. Prints all
/// that was shown, and then the exit code on a line of its own.
const DRIVER: &str = r#"
import fcntl, json, os, pty, select, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
def size(rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
size(24, 80)
shown, position, deadline = b"", 0, time.monotonic() + 20
def read():
    global shown
    if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
        sys.exit("timed out; shown so far: %r" % shown)
    try:
        data = os.read(fd, 65536)
    except OSError:
        data = b""
    shown += data
    return data
for step in json.loads(sys.argv[1]):
    if step[0] == "send":
        os.write(fd, step[1].encode())
    elif step[0] == "resize":
        size(step[1], step[2])
    elif step[0] == "pause":
        time.sleep(step[1])
    elif step[0] == "expect":
        while shown.find(step[1].encode(), position) < 0:
            if not read():
                sys.exit("ended before %r; shown: %r" % (step[1], shown))
        position = shown.find(step[1].encode(), position) + len(step[1])
    elif step[0] == "end":
        while read():
            pass
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(shown)
print("\ncode", os.waitstatus_to_exitcode(status))
"#;

/// What the terminal showed, with the exit code in the last line.
#[track_caller]
fn on_terminal(skep: &Skep, steps: serde_json::Value, arguments: &[&str]) -> String {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", DRIVER, &steps.to_string(), crate::harness::binary().to_str().unwrap()]).args(arguments);
    skep.environment(&mut command);
    command.env("TERM", "xterm");
    let output = skep.finish(command);
    assert_eq!(output.code, 0, "{output:#?}");
    output.stdout
}

#[test]
fn a_shell_on_a_terminal() {
    let skep = Skep::with_image();
    let steps = serde_json::json!([
        ["expect", "# "],
        ["send", "tty; stty size; echo $TERM\n"],
        ["expect", "/dev/pts/0"],
        ["expect", "24 80"],
        ["expect", "xterm"],
        ["send", "exit 3\n"],
        ["end"],
    ]);
    let shown = on_terminal(&skep, steps, &["run", "--rm", "-it", IMAGE, "sh"]);
    assert!(shown.ends_with("code 3\n"), "{shown}");
}

#[test]
fn the_size_follows_the_window() {
    let skep = Skep::with_image();
    let steps = serde_json::json!([
        ["expect", "# "],
        ["resize", 40, 132],
        ["pause", 0.3],
        ["send", "stty size\n"],
        ["expect", "40 132"],
        ["send", "exit\n"],
        ["end"],
    ]);
    on_terminal(&skep, steps, &["run", "--rm", "-it", IMAGE, "sh"]);
}

#[test]
fn control_keys_are_for_the_program() {
    let skep = Skep::with_image();
    let script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done";
    let steps = serde_json::json!([["expect", "ready"], ["send", "\u{3}"], ["expect", "interrupted"], ["end"]]);
    let shown = on_terminal(&skep, steps, &["run", "--rm", "-it", IMAGE, "sh", "-c", script]);
    assert!(shown.ends_with("code 9\n"), "{shown}");
    let steps = serde_json::json!([["expect", "ready"], ["send", "honey\n\u{4}"], ["expect", "1"], ["end"]]);
    on_terminal(&skep, steps, &["run", "--rm", "-it", IMAGE, "sh", "-c", "echo ready; wc -l"]);
}

#[test]
fn detach_and_come_back() {
    let skep = Skep::with_image();
    let steps = serde_json::json!([
        ["expect", "# "],
        ["send", "A=nectar\n"],
        ["expect", "# "],
        ["send", "\u{10}\u{11}"],
        ["end"]
    ]);
    let shown = on_terminal(&skep, steps, &["run", "-it", "--name", "kept", IMAGE, "sh"]);
    assert!(shown.ends_with("code 0\n"), "{shown}");
    assert_eq!(skep.inspect("kept", "{{.State.Running}}"), "true");
    let steps = serde_json::json!([
        ["send", "echo still $A\n"],
        ["expect", "still nectar"],
        ["send", "x"],
        ["pause", 0.1],
        ["send", "\u{15}"],
        ["send", "\u{1}d"],
        ["end"],
    ]);
    on_terminal(&skep, steps, &["attach", "--detach-keys", "ctrl-a,d", "kept"]);
    assert_eq!(skep.inspect("kept", "{{.State.Running}}"), "true");
}

#[test]
fn exec_on_a_terminal() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    let steps = serde_json::json!([
        ["expect", "# "],
        ["send", "tty; stty size\n"],
        ["expect", "/dev/pts/"],
        ["expect", "24 80"],
        ["send", "exit 4\n"],
        ["end"],
    ]);
    let shown = on_terminal(&skep, steps, &["exec", "-it", &id, "sh"]);
    assert!(shown.ends_with("code 4\n"), "{shown}");
}

#[test]
fn a_terminal_needs_a_terminal() {
    let skep = Skep::with_image();
    let output = skep.run(["run", "--rm", "-it", IMAGE, "true"]);
    output.assert_one_line_error(125, &["TTY"]);
    // -t alone gives the program a terminal, though the caller has none.
    assert!(skep.ok(["run", "--rm", "-t", IMAGE, "tty"]).starts_with("/dev/pts/0"));
}

#[test]
fn the_callers_terminal_is_as_before_afterwards() {
    let skep = Skep::with_image();
    let script = "stty -a > $0.before; $SKEP run --rm -it busybox sh -c 'stty -echo raw'; stty -a > $0.after; cmp $0.before $0.after && echo same";
    let file = skep.file("settings").to_str().unwrap().to_owned();
    let mut command = Command::new("script");
    command.args(["-qec", &format!("sh -c \"{}\" {file}", script.replace('$', "\\$")), "/dev/null"]);
    skep.environment(&mut command);
    let output = skep.finish(command);
    assert!(output.stdout.contains("same"), "{output:#?}");
}
