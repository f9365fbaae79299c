//! Tokens to a tree.
//!
//! ```text
//!   node     = text | {{pipeline}} | if | range | with | break | continue
//!   pipeline = [ $a [, $b] (":=" | "=") ] command { "|" command }
//!   command  = operand { operand }
//!   operand  = ( "." | ".A.B" | "$a.B" | "(" pipeline ").B" | literal | nil | function )
//! ```

use super::functions;
use super::lexer::Token;
use serde_json::Value;

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Node {
    /// Plain text.
    Text(String),
    /// A pipeline whose value is shown, or kept in a variable.
    Action(Pipeline),
    /// `if`, with its `else` (an `else if` is an `If` in the else).
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `with`
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `range`
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `break` and `continue`
    Break,
    /// `continue`
    Continue,
}

/// Commands, each fed with the value of the one before; perhaps kept in variables.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// `$i, $x`
    pub(super) variables: Vec<String>,
    /// `=` rather than `:=`
    pub(super) assign: bool,
    /// At least one.
    pub(super) commands: Vec<Command>,
}

/// What to call or show, then arguments.
#[derive(Debug)]
pub(super) struct Command {
    /// The first operand.
    pub(super) head: Operand,
    /// The others.
    pub(super) arguments: Vec<Operand>,
}

/// A value, before it is one.
#[derive(Debug)]
pub(super) enum Operand {
    /// `.`, or `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`
    Variable(String, Vec<String>),
    /// `( .. ).A.B`
    Nested(Box<Pipeline>, Vec<String>),
    /// A constant; `nil` is null.
    Literal(Value),
    /// The name of a function.
    Function(String),
}

impl Pipeline {
    /// The last name of a path that is shown as it is: `Labels` of `{{.Config.Labels}}`.
    pub(super) fn field(&self) -> Option<&str> {
        match self.commands.as_slice() {
            [command] if command.arguments.is_empty() => command.head.field(),
            _ => None,
        }
    }
}

impl Operand {
    /// The last name of its path.
    pub(super) fn field(&self) -> Option<&str> {
        match self {
            Self::Field(path) | Self::Variable(_, path) | Self::Nested(_, path) => path.last().map(String::as_str),
            Self::Literal(_) | Self::Function(_) => None,
        }
    }
}

/// Parses a whole template.
pub(super) fn parse(tokens: &[Token]) -> Result<Vec<Node>, String> {
    let mut parser = Parser { tokens, at: 0, loops: 0 };
    let (nodes, end) = parser.block()?;
    match end {
        End::Nothing => Ok(nodes),
        End::Word => Err("unexpected {{end}}".into()),
        End::Else(_) => Err("unexpected {{else}}".into()),
    }
}

/// The headings of a table: each shown field in its place, text between them kept.
pub(super) fn headings(nodes: &[Node], heading: &dyn Fn(&str) -> String) -> String {
    let mut line = String::new();
    for node in nodes {
        match node {
            Node::Text(text) => line.push_str(text),
            Node::Action(pipeline) if pipeline.variables.is_empty() => {
                if let Some(name) = pipeline.commands.iter().find_map(shown_field) {
                    line.push_str(&heading(name));
                }
            }
            Node::If(_, body, _) | Node::With(_, body, _) | Node::Range(_, body, _) => {
                line.push_str(&headings(body, heading));
            }
            _ => {}
        }
    }
    line
}

/// Whether a lone dot or `$` stands anywhere.
pub(super) fn shows_all(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Action(pipeline) => has_dot(pipeline),
        Node::If(pipeline, body, otherwise)
        | Node::With(pipeline, body, otherwise)
        | Node::Range(pipeline, body, otherwise) => has_dot(pipeline) || shows_all(body) || shows_all(otherwise),
        Node::Text(_) | Node::Break | Node::Continue => false,
    })
}

fn has_dot(pipeline: &Pipeline) -> bool {
    let operands = |command: &Command| {
        std::iter::once(&command.head).chain(&command.arguments).any(|operand| match operand {
            Operand::Field(path) => path.is_empty(),
            // `$.Field` is looked up in the whole object.
            Operand::Variable(name, _) => name.is_empty(),
            Operand::Nested(pipeline, _) => has_dot(pipeline),
            Operand::Literal(_) | Operand::Function(_) => false,
        })
    };
    pipeline.commands.iter().any(operands)
}

fn shown_field(command: &Command) -> Option<&str> {
    let label = match (&command.head, command.arguments.first()) {
        (Operand::Field(path), Some(Operand::Literal(Value::String(label)))) if path == &["Label"] => {
            Some(label.as_str())
        }
        _ => None,
    };
    label.or_else(|| {
        std::iter::once(&command.head).chain(&command.arguments).find_map(|operand| match operand {
            Operand::Field(path) => path.first().map(String::as_str),
            Operand::Nested(pipeline, _) => pipeline.commands.iter().find_map(shown_field),
            _ => None,
        })
    })
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    loops: usize,
}

/// What ended a list of nodes.
enum End {
    Nothing,
    Word,
    /// `else`, or `else if`/`else with` and its pipeline.
    Else(Option<(String, Pipeline)>),
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn close(&mut self) -> Result<(), String> {
        if self.take(&Token::Close) { Ok(()) } else { Err(format!("unexpected {} in command", self.here())) }
    }

    fn here(&self) -> String {
        match self.peek() {
            None | Some(Token::Close) => "end of action".into(),
            Some(token) => super::print::token(token),
        }
    }

    fn block(&mut self) -> Result<(Vec<Node>, End), String> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            match token {
                Token::Text(text) => nodes.push(Node::Text(text)),
                _ => match self.action()? {
                    Ok(node) => nodes.push(node),
                    Err(end) => return Ok((nodes, end)),
                },
            }
        }
        Ok((nodes, End::Nothing))
    }

    /// What follows `{{`: a node, or what ends the list of nodes.
    fn action(&mut self) -> Result<Result<Node, End>, String> {
        let Some(Token::Word(word)) = self.peek().cloned() else {
            return self.shown().map(Ok);
        };
        if !matches!(
            word.as_str(),
            "if" | "with" | "range" | "end" | "else" | "break" | "continue" | "template" | "define" | "block"
        ) {
            return self.shown().map(Ok);
        }
        self.at += 1;
        match word.as_str() {
            "if" | "with" | "range" => self.branch(&word).map(Ok),
            "end" => self.close().map(|()| Err(End::Word)),
            "else" => {
                let Some(Token::Word(word)) = self.peek().cloned() else {
                    return self.close().map(|()| Err(End::Else(None)));
                };
                self.at += 1;
                if word != "if" && word != "with" {
                    return Err(format!("unexpected <{word}> in else"));
                }
                let pipeline = self.pipeline()?;
                self.close()?;
                Ok(Err(End::Else(Some((word, pipeline)))))
            }
            "break" | "continue" if self.loops == 0 => Err(format!("{{{{{word}}}}} outside {{{{range}}}}")),
            "break" => self.close().map(|()| Ok(Node::Break)),
            "continue" => self.close().map(|()| Ok(Node::Continue)),
            _ => Err(format!("{{{{{word}}}}} is not supported")),
        }
    }

    fn shown(&mut self) -> Result<Node, String> {
        let pipeline = self.pipeline()?;
        self.close()?;
        Ok(Node::Action(pipeline))
    }

    fn branch(&mut self, word: &str) -> Result<Node, String> {
        let pipeline = self.pipeline()?;
        self.close()?;
        self.branch_body(word, pipeline)
    }

    fn branch_body(&mut self, word: &str, pipeline: Pipeline) -> Result<Node, String> {
        self.loops += usize::from(word == "range");
        let (body, end) = self.block()?;
        self.loops -= usize::from(word == "range");
        let otherwise = match end {
            End::Nothing => return Err("unexpected EOF".into()),
            End::Word => Vec::new(),
            End::Else(Some((word, pipeline))) => vec![self.branch_body(&word, pipeline)?],
            End::Else(None) => match self.block()? {
                (nodes, End::Word) => nodes,
                (_, End::Nothing) => return Err("unexpected EOF".into()),
                (_, End::Else(_)) => return Err("expected end; found {{else}}".into()),
            },
        };
        Ok(match word {
            "if" => Node::If(pipeline, body, otherwise),
            "with" => Node::With(pipeline, body, otherwise),
            _ => Node::Range(pipeline, body, otherwise),
        })
    }

    fn pipeline(&mut self) -> Result<Pipeline, String> {
        let (variables, assign) = self.declaration();
        let mut commands = vec![self.command()?];
        while self.take(&Token::Pipe) {
            commands.push(self.command()?);
        }
        Ok(Pipeline { variables, assign, commands })
    }

    /// `$a :=`, `$a =` or `$a, $b :=`; else nothing is taken.
    fn declaration(&mut self) -> (Vec<String>, bool) {
        let start = self.at;
        let mut names = Vec::new();
        while let Some(Token::Variable(name)) = self.peek().cloned() {
            self.at += 1;
            names.push(name);
            if self.take(&Token::Declare) {
                return (names, false);
            }
            if self.take(&Token::Assign) {
                return (names, true);
            }
            if names.len() == 2 || !self.take(&Token::Comma) {
                break;
            }
        }
        self.at = start;
        (Vec::new(), false)
    }

    fn command(&mut self) -> Result<Command, String> {
        let Some(head) = self.operand()? else {
            return Err(match self.peek() {
                None | Some(Token::Close) => "missing value for command".into(),
                _ => format!("unexpected {} in command", self.here()),
            });
        };
        let mut arguments = Vec::new();
        while let Some(operand) = self.operand()? {
            arguments.push(operand);
        }
        Ok(Command { head, arguments })
    }

    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let Some(token) = self.peek().cloned() else { return Ok(None) };
        let operand = match token {
            Token::Dot => self.step(Operand::Field(Vec::new())),
            Token::Field(name, _) => {
                self.at += 1;
                let mut path = vec![name];
                path.extend(self.chain());
                Operand::Field(path)
            }
            Token::Variable(name) => {
                self.at += 1;
                Operand::Variable(name, self.chain())
            }
            Token::LeftParenthesis => {
                self.at += 1;
                let pipeline = self.pipeline()?;
                if !self.take(&Token::RightParenthesis) {
                    return Err("unclosed left paren".into());
                }
                Operand::Nested(Box::new(pipeline), self.chain())
            }
            Token::Literal(value) => self.step(Operand::Literal(value)),
            Token::Word(word) if word == "nil" => self.step(Operand::Literal(Value::Null)),
            Token::Word(word) if functions::exists(&word) => self.step(Operand::Function(word)),
            Token::Word(word) => return Err(format!("function \"{word}\" not defined")),
            _ => return Ok(None),
        };
        Ok(Some(operand))
    }

    fn step(&mut self, operand: Operand) -> Operand {
        self.at += 1;
        operand
    }

    /// The `.B.C` that follow an operand without white space.
    fn chain(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(Token::Field(name, false)) = self.peek().cloned() {
            self.at += 1;
            path.push(name);
        }
        path
    }
}
