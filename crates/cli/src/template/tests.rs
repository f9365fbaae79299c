use super::*;
use serde_json::json;

fn render(text: &str) -> String {
    let data = json!({
        "Name": "/web", "ID": "abc", "Empty": "", "Null": null, "Pid": 42, "Ratio": 0.5,
        "State": {"Status": "running", "Running": true, "Health": null},
        "Args": ["a", "b c"], "Labels": {"x.y": "1", "a": "2"},
        "Mounts": [{"Source": "/s", "Destination": "/d"}, {"Source": "/t", "Destination": "/e"}],
    });
    let methods = |name: &str, arguments: &[Value]| match (name, arguments) {
        ("Label", [Value::String(key)]) => Some(Value::from(format!("label-{key}"))),
        _ => None,
    };
    let result = Template::parse(text).and_then(|template| template.render_with(&data, &methods));
    result.unwrap_or_else(|error| format!("ERROR {error}"))
}

#[track_caller]
fn check(template: &str, expected: &str) {
    assert_eq!(render(template), expected, "{template}");
}

#[test]
fn fields() {
    check("{{.Name}} {{ .State.Status }}", "/web running");
    check("{{.Pid}}/{{.Ratio}}/{{.State.Running}}", "42/0.5/true");
    check("{{.Args}} {{.Labels}} {{.Null}}", "[a b c] map[a:2 x.y:1] <no value>");
    check("{{.Missing}}", "ERROR template error: <.Missing>: no field \"Missing\"");
    check("{{.Name.Sub}}", "ERROR template error: <.Name.Sub>: can't evaluate field Sub in string");
    check("{{.State.Health.Status}}", "<no value>");
    check("{{.Label \"a.b\"}}", "label-a.b");
    check("{{$.Name}}{{with .State}}{{.Status}}{{$.ID}}{{end}}", "/webrunningabc");
}

#[test]
fn json_values() {
    check("{{json .State}}", r#"{"Status":"running","Running":true,"Health":null}"#);
    check("{{json .Name}} {{.Args | json}} {{json .Null}}", r#""/web" ["a","b c"] null"#);
}

#[test]
fn conditions() {
    check("{{if .State.Running}}up{{else}}down{{end}}", "up");
    check("{{if .Empty}}a{{else if .Pid}}b{{else}}c{{end}}", "b");
    check("{{if .State.Healthy}}{{.State.Healthy.Status}}{{else}}none{{end}}", "none");
    check("{{if eq .State.Status \"exited\" \"running\"}}y{{end}}", "y");
    check("{{if and .State.Running (gt .Pid 40)}}y{{end}}{{if not .Empty}}z{{end}}", "yz");
    check("{{if or .Missing .Name}}y{{end}}", "y");
    check("{{if and .Missing .Missing.Deep}}y{{else}}n{{end}}", "n");
    check("{{ne .Name \"x\"}} {{lt 1 2}} {{ge 1.5 2}}", "true true false");
    check("{{with .Empty}}x{{else}}y{{end}}", "y");
}

#[test]
fn ranges() {
    check("{{range .Mounts}}{{.Source}}:{{.Destination}} {{end}}", "/s:/d /t:/e ");
    check("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}};{{end}}", "0=/s;1=/t;");
    check("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a=2 x.y=1 ");
    check("{{range .Null}}x{{else}}none{{end}}", "none");
    check("{{range .Args}}{{if eq . \"b c\"}}{{break}}{{end}}{{.}}{{end}}", "a");
    check("{{$x := \"\"}}{{range .Args}}{{$x = .}}{{end}}{{$x}}", "b c");
}

#[test]
fn functions() {
    check("{{index .Labels \"x.y\"}} {{index .Args 1}} [{{index .Labels \"none\"}}]", "1 b c []");
    check("{{(index .Mounts 0).Source}}", "/s");
    check("{{len .Args}} {{len .Name}} {{join .Args \",\"}} {{.Name | upper | lower}}", "2 4 a,b c /web");
    check(
        "{{printf \"%-5s|%5s|%05d|%.2f|%q|%v|%%\" .ID .ID .Pid .Ratio .ID .Args}}",
        "abc  |  abc|00042|0.50|\"abc\"|[a b c]|%",
    );
    check("{{println .ID .Pid}}{{print .ID .Pid 1}}", "abc 42\nabc42 1");
    check("{{range split .Name \"/\"}}<{{.}}>{{end}}", "<><web>");
    check("{{title .State.Status}} {{truncate .State.Status 3}} [{{pad .ID 1 2}}]", "Running run [ abc  ]");
    check("{{slice .Name 1}} {{slice .Args 0 1}}", "web [a]");
    check("{{index .Args 9}}", "ERROR template error: error calling index: index out of range: 9");
}

#[test]
fn white_space_comments_and_quotes() {
    check("a {{- .ID -}}  b", "aabcb");
    check("a{{/* no */}}b{{- /* x */ -}} c", "abc");
    check("{{\"a\\tb\\\"}}\"}}{{`raw\\n`}}", "a\tb\"}}raw\\n");
}

#[test]
fn mistakes_are_one_line() {
    check("{{.Name", "ERROR template parsing error in `{{.Name`: unclosed action");
    check("{{foo}}", "ERROR template parsing error in `{{foo}}`: function \"foo\" not defined");
    check("{{if .Name}}x", "ERROR template parsing error in `{{if .Name}}x`: unexpected EOF");
    check("x{{end}}", "ERROR template parsing error in `x{{end}}`: unexpected {{end}}");
    check("{{}}", "ERROR template parsing error in `{{}}`: missing value for command");
    check("{{template \"x\"}}", "ERROR template parsing error in `{{template \"x\"}}`: {{template}} is not supported");
    check("{{\"x\" .Name}}", "ERROR template error: can't give argument to non-function");
    check("{{len 3}}", "ERROR template error: error calling len: len of type number");
    check("{{(.Name}}", "ERROR template parsing error in `{{(.Name}}`: unclosed left paren");
}

#[test]
fn headings_follow_the_fields() {
    let heading = |name: &str| name.to_uppercase();
    let line = |text: &str| Template::parse(text).unwrap().headings(&heading);
    assert_eq!(line("{{.ID}}\t{{.Names}}: {{upper .Status}}"), "ID\tNAMES: STATUS");
    assert_eq!(line("{{.Label \"com.x\"}}\t{{if .ID}}{{.ID}}{{end}}"), "COM.X\tID");
}

#[test]
fn empty_fields_of_dockers_documents() {
    let data = serde_json::json!({"Config": {"Entrypoint": null, "Image": "x"}, "State": {}});
    let render = |text: &str| Template::parse(text).and_then(|template| template.render(&data));
    let all = "{{.Config.Labels}}{{.Config.Entrypoint}}{{.Config.User}}{{.State.Health}}";
    assert_eq!(render(all).unwrap(), "map[][]<nil>");
    assert_eq!(render("{{json .Config.Cmd}}{{json .Config.Entrypoint}}").unwrap(), "nullnull");
    assert_eq!(render("{{index .Config.Labels \"a\"}}{{len .Config.Cmd}}").unwrap(), "0");
    assert_eq!(render("{{if .State.Health}}a{{else}}b{{end}}{{.Config.Labels.a}}").unwrap(), "b<no value>");
    assert!(render("{{.Config.Labls}}").is_err());
}
