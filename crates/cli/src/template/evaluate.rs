//! Walks the tree over one value and writes the text.

use super::parser::{Command, Node, Operand, Pipeline};
use super::{Methods, functions, optional, print};
use serde_json::Value;

/// The text of the nodes over `data`.
pub(super) fn render(nodes: &[Node], data: &Value, methods: &Methods<'_>) -> Result<String, String> {
    let mut scope = Scope { methods, variables: vec![(String::new(), data.clone())], out: String::new() };
    scope.walk(nodes, data)?;
    Ok(scope.out)
}

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Scope<'a> {
    methods: &'a Methods<'a>,
    /// Innermost last; the first is `$`.
    variables: Vec<(String, Value)>,
    out: String,
}

impl Scope<'_> {
    fn walk(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        let depth = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        // What a block declares at its top level ends with it, but not what the whole template declares.
        if depth > 1 {
            self.variables.truncate(depth);
        }
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    let empty = value.is_null().then(|| pipeline.field().and_then(optional::print)).flatten();
                    self.out.push_str(&empty.map_or_else(|| print::value(&value), str::to_owned));
                } else {
                    self.keep(pipeline, value)?;
                }
            }
            Node::If(pipeline, body, otherwise) => {
                return self.scoped(|scope| {
                    let value = scope.condition(pipeline, dot)?;
                    scope.keep(pipeline, value.clone())?;
                    scope.walk(if functions::truth(&value) { body } else { otherwise }, dot)
                });
            }
            Node::With(pipeline, body, otherwise) => {
                return self.scoped(|scope| {
                    let value = scope.condition(pipeline, dot)?;
                    scope.keep(pipeline, value.clone())?;
                    if functions::truth(&value) { scope.walk(body, &value) } else { scope.walk(otherwise, dot) }
                });
            }
            Node::Range(pipeline, body, otherwise) => {
                return self.scoped(|scope| scope.range(pipeline, body, otherwise, dot));
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn scoped<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> T {
        let depth = self.variables.len();
        let result = inside(self);
        self.variables.truncate(depth);
        result
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow, String> {
        let value = self.condition(pipeline, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::Array(items) => items.into_iter().enumerate().map(|(index, item)| (index.into(), item)).collect(),
            Value::Object(map) => {
                let mut items: Vec<_> = map.into_iter().map(|(key, item)| (key.into(), item)).collect();
                items.sort_by(|a: &(Value, Value), b| a.0.as_str().cmp(&b.0.as_str()));
                items
            }
            Value::Number(count) => (0..count.as_u64().unwrap_or(0)).map(|n| (n.into(), n.into())).collect(),
            Value::Null => Vec::new(),
            other => return Err(format!("range can't iterate over {}", print::value(&other))),
        };
        if items.is_empty() {
            return self.walk(otherwise, dot);
        }
        for (key, item) in items {
            let flow = self.scoped(|scope| {
                match pipeline.variables.as_slice() {
                    [value] => scope.variables.push((value.clone(), item.clone())),
                    [index, value] => {
                        scope.variables.push((index.clone(), key));
                        scope.variables.push((value.clone(), item.clone()));
                    }
                    _ => {}
                }
                scope.walk(body, &item)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn keep(&mut self, pipeline: &Pipeline, value: Value) -> Result<(), String> {
        let Some(name) = pipeline.variables.first() else { return Ok(()) };
        if !pipeline.assign {
            self.variables.push((name.clone(), value));
            return Ok(());
        }
        let slot = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        slot.map(|(_, old)| *old = value).ok_or_else(|| format!("undefined variable \"${name}\""))
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        self.commands(pipeline, dot, false)
    }

    /// As a pipeline, but a field that does not exist is null.
    fn condition(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        self.commands(pipeline, dot, true)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value, lenient: bool) -> Result<Value, String> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value, dot, lenient)?);
        }
        Ok(value.unwrap_or(Value::Null))
    }

    fn command(
        &mut self,
        command: &Command,
        piped: Option<Value>,
        dot: &Value,
        lenient: bool,
    ) -> Result<Value, String> {
        if let Operand::Function(name) = &command.head {
            let lenient = matches!(name.as_str(), "and" | "or" | "not");
            let mut arguments = Vec::new();
            for operand in &command.arguments {
                let value = match (self.operand(operand, dot, lenient)?, operand.field()) {
                    (Value::Null, Some(field)) if name != "json" => optional::value(field),
                    (value, _) => value,
                };
                // `and` and `or` stop at the first value that decides.
                let decided =
                    (name == "and" && !functions::truth(&value)) || (name == "or" && functions::truth(&value));
                arguments.push(value);
                if decided {
                    return functions::call(name, &arguments);
                }
            }
            arguments.extend(piped);
            return functions::call(name, &arguments);
        }
        if command.arguments.is_empty() && piped.is_none() {
            return self.operand(&command.head, dot, lenient);
        }
        let Operand::Field(path) = &command.head else {
            return Err("can't give argument to non-function".into());
        };
        let mut arguments = Vec::new();
        for operand in &command.arguments {
            arguments.push(self.operand(operand, dot, false)?);
        }
        arguments.extend(piped);
        let name = path.join(".");
        (self.methods)(&name, &arguments).ok_or_else(|| format!("<.{name}>: .{name} is not a method but has arguments"))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value, lenient: bool) -> Result<Value, String> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(name) => functions::call(name, &[]),
            Operand::Field(path) => self.follow(dot, path, lenient),
            Operand::Nested(pipeline, path) => {
                let value = self.commands(pipeline, dot, lenient)?;
                self.follow(&value, path, lenient)
            }
            Operand::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let value =
                    found.map(|(_, value)| value.clone()).ok_or_else(|| format!("undefined variable \"${name}\""))?;
                self.follow(&value, path, lenient)
            }
        }
    }

    fn follow(&self, start: &Value, path: &[String], lenient: bool) -> Result<Value, String> {
        let mut value = start;
        for (depth, name) in path.iter().enumerate() {
            let Some(inner) = value.get(name) else {
                if let (1, Some(found)) = (path.len(), (self.methods)(name, &[])) {
                    return Ok(found);
                }
                let may_miss = value.is_object() && optional::is_known(name);
                if lenient || may_miss || (value.is_null() && depth > 0) {
                    return Ok(Value::Null);
                }
                let whole = path.join(".");
                return Err(match value {
                    Value::Object(_) => format!("<.{whole}>: no field \"{name}\""),
                    _ => format!("<.{whole}>: can't evaluate field {name} in {}", print::kind(value)),
                });
            };
            value = inner;
        }
        Ok(value.clone())
    }
}
