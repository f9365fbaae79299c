//! Makes libseccomp's program short.
//!
//! libseccomp asks for every system call by itself: three instructions a call and architecture, more than a thousand for
//! Docker's profile. The kernel pays for each when a filter is loaded (it checks, translates and compiles them, and
//! walks them once for each call to learn which are always allowed), so loading takes longer than making all of a
//! container's namespaces. Most neighbours have the same verdict, and so here the program is run, for every
//! architecture, over *ranges* of numbers:
//!
//! ```text
//! libseccomp's program --survey--> 0..=55 allow, 56 look at the arguments (instruction 812), 57..=100 allow ...
//!                                      |  + what is newer than libseccomp (newer.rs)
//!                                      v
//! new program:  load architecture, one test for each
//!               load number, a balanced tree of comparisons, ending in
//!                 - a return, shared with the neighbours that are near enough to jump to
//!                 - the part of libseccomp's program that looks at the arguments, copied as it is
//! ```
//! Nothing is guessed: an instruction that this file does not know is an error. What a copied part begins with is a load, so that
//! it depends on nothing that was before.

use std::collections::BTreeSet;
use std::collections::HashMap;

use failure::{Error, Result};

use super::Instruction;
use super::bpf::{
    ARCHITECTURE, ARGUMENTS, JUMP, JUMP_IF_AT_LEAST, JUMP_IF_EQUAL, JUMP_IF_MORE, LOAD, NUMBER, Parts, RETURN,
};

/// A conditional jump has one byte for its distance; one less leaves room for a bridge of the other branch.
const FAR: usize = 254;

/// What the program says to a range of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This, whatever the arguments are.
    Return(u32),
    /// What the program says from this instruction on, where it loads an argument.
    Arguments(usize),
}

/// The verdicts on all numbers from 0: each holds from its number to the next one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdicts(Vec<(u32, Verdict)>);

impl Verdicts {
    /// Gives a range another verdict.
    pub(super) fn set(&mut self, first: u32, last: u32, verdict: Verdict) {
        let behind = last.checked_add(1).map(|next| (next, self.at(next)));
        let mut all: Vec<_> = self.0.iter().copied().filter(|(start, _)| *start < first || *start > last).collect();
        all.retain(|(start, _)| behind.is_none_or(|(next, _)| *start != next));
        all.push((first, verdict));
        all.extend(behind);
        *self = Self::sorted(all);
    }

    /// The action, if it is one and the same for every number.
    pub(super) fn single(&self) -> Option<u32> {
        match self.0[..] {
            [(_, Verdict::Return(action))] => Some(action),
            _ => None,
        }
    }

    fn at(&self, number: u32) -> Verdict {
        let following = self.0.partition_point(|(start, _)| *start <= number);
        self.0[following - 1].1
    }

    /// In order, and neighbours with one verdict as one.
    fn sorted(mut ranges: Vec<(u32, Verdict)>) -> Self {
        ranges.sort_by_key(|(start, _)| *start);
        ranges.dedup_by_key(|(_, verdict)| *verdict);
        Self(ranges)
    }
}

/// What the program says to the calls of an architecture; `None` is any that it does not ask for.
pub(super) fn survey(program: &[Instruction], architecture: Option<u32>) -> Result<Verdicts> {
    let mut found = Vec::new();
    let mut paths = vec![Path { at: 0, first: 0, last: u32::MAX, loaded: Loaded::Nothing }];
    while let Some(path) = paths.pop() {
        let instruction = program.get(path.at).copied().map(Parts::of).ok_or_else(|| unknown(path.at))?;
        let next = Path { at: path.at + 1, ..path };
        match (instruction.code, instruction.operand) {
            (LOAD, NUMBER) => paths.push(Path { loaded: Loaded::Number, ..next }),
            (LOAD, ARCHITECTURE) => paths.push(Path { loaded: Loaded::Architecture, ..next }),
            (LOAD, ARGUMENTS..) => found.push((path.first, Verdict::Arguments(path.at))),
            (JUMP, offset) => paths.push(Path { at: next.at + offset as usize, ..next }),
            (RETURN, action) => found.push((path.first, Verdict::Return(action))),
            _ => branch(instruction, next, architecture, &mut paths)?,
        }
    }
    Ok(Verdicts::sorted(found))
}

/// The short program: the verdicts for each architecture, and the action for all others. `program` is where the parts
/// that look at arguments are.
pub(super) fn write(program: &[Instruction], known: &[(u32, Verdicts)], others: u32) -> Result<Vec<Instruction>> {
    let mut writer = Writer::default();
    let entries = known.iter().flat_map(|(_, verdicts)| &verdicts.0).filter_map(|(_, verdict)| match verdict {
        Verdict::Arguments(at) => Some(*at),
        Verdict::Return(_) => None,
    });
    writer.copy(program, entries)?;
    let mut sections = Vec::new();
    for (architecture, verdicts) in known.iter().rev() {
        let root = writer.tree(&verdicts.0)?;
        writer.adjacent(root);
        writer.push(Parts::new(LOAD, NUMBER));
        sections.push((*architecture, writer.last()));
    }
    // Whatever is asked first is written last.
    let mut following = writer.leaf(Verdict::Return(others))?;
    for (architecture, section) in sections {
        following = writer.choose(JUMP_IF_EQUAL, architecture, section, following);
    }
    writer.adjacent(following);
    writer.push(Parts::new(LOAD, ARCHITECTURE));
    Ok(writer.finish())
}

/// A way through the program, for a range of numbers.
#[derive(Clone, Copy)]
struct Path {
    at: usize,
    first: u32,
    last: u32,
    loaded: Loaded,
}

/// What is in the register.
#[derive(Clone, Copy)]
enum Loaded {
    Nothing,
    Number,
    Architecture,
}

/// A conditional jump: on a number it may part the range.
fn branch(instruction: Parts, next: Path, architecture: Option<u32>, paths: &mut Vec<Path>) -> Result<()> {
    let operand = instruction.operand;
    let mut go = |holds: bool, first: u32, last: u32| {
        let offset = if holds { instruction.if_true } else { instruction.if_false };
        paths.push(Path { at: next.at + usize::from(offset), first, last, ..next });
    };
    let Path { first, last, .. } = next;
    match (next.loaded, instruction.code, architecture) {
        (Loaded::Architecture, JUMP_IF_EQUAL, architecture) => go(architecture == Some(operand), first, last),
        (Loaded::Number, JUMP_IF_EQUAL, _) => {
            if first < operand {
                go(false, first, last.min(operand - 1));
            }
            if (first..=last).contains(&operand) {
                go(true, operand, operand);
            }
            if last > operand {
                go(false, first.max(operand + 1), last);
            }
        }
        (Loaded::Number, JUMP_IF_MORE | JUMP_IF_AT_LEAST, _) => {
            // The first number for which it holds; there is none above the highest.
            let border = match instruction.code {
                JUMP_IF_MORE => operand.checked_add(1),
                _ => Some(operand),
            };
            match border {
                Some(border) if border <= first => go(true, first, last),
                Some(border) if border <= last => {
                    go(false, first, border - 1);
                    go(true, border, last);
                }
                _ => go(false, first, last),
            }
        }
        _ => return Err(unknown(next.at - 1)),
    }
    Ok(())
}

fn unknown(at: usize) -> Error {
    Error::internal(format!("libseccomp's program has an instruction of a new kind, number {at}"))
}

/// Writes a program from its end, so that whatever is jumped to is there already. A place is named by its distance from
/// the end.
#[derive(Default)]
struct Writer {
    reversed: Vec<Parts>,
    /// Where instructions of the old program are now.
    copied: HashMap<usize, usize>,
    /// The latest return of each action.
    returns: HashMap<u32, usize>,
}

impl Writer {
    /// Copies all that can be reached from the entries, in its order: what falls through to the next still does, and no jump
    /// gets longer.
    fn copy(&mut self, program: &[Instruction], entries: impl Iterator<Item = usize>) -> Result<()> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<usize> = entries.collect();
        while let Some(at) = waiting.pop() {
            if reached.insert(at) {
                let instruction = program.get(at).copied().map(Parts::of).ok_or_else(|| unknown(at))?;
                waiting.extend(instruction.successors().into_iter().map(|offset| at + 1 + offset));
            }
        }
        for at in reached.into_iter().rev() {
            let mut instruction = Parts::of(program[at]);
            let distance = |offset: usize| {
                let target = self.copied.get(&(at + 1 + offset)).copied().ok_or_else(|| unknown(at))?;
                Ok::<_, Error>(self.reversed.len() - 1 - target)
            };
            if instruction.code == JUMP {
                instruction.operand = distance(instruction.operand as usize)? as u32;
            } else if instruction.is_conditional() {
                instruction.if_true = distance(instruction.if_true.into())? as u8;
                instruction.if_false = distance(instruction.if_false.into())? as u8;
            }
            self.push(instruction);
            self.copied.insert(at, self.last());
        }
        Ok(())
    }

    /// A balanced tree over ranges; returns its root.
    fn tree(&mut self, ranges: &[(u32, Verdict)]) -> Result<usize> {
        match ranges {
            [] => Err(Error::internal("a filter without verdicts")),
            [(_, verdict)] => self.leaf(*verdict),
            _ => {
                let (lower, upper) = ranges.split_at(ranges.len() / 2);
                let (above, below) = (self.tree(upper)?, self.tree(lower)?);
                Ok(self.choose(JUMP_IF_AT_LEAST, upper[0].0, above, below))
            }
        }
    }

    fn leaf(&mut self, verdict: Verdict) -> Result<usize> {
        match verdict {
            Verdict::Arguments(at) => self.copied.get(&at).copied().ok_or_else(|| unknown(at)),
            Verdict::Return(action) => match self.returns.get(&action) {
                // Not so near to the end of its reach that the next one needs a bridge.
                Some(place) if self.reversed.len() - place < FAR / 2 => Ok(*place),
                _ => {
                    self.push(Parts::new(RETURN, action));
                    self.returns.insert(action, self.last());
                    Ok(self.last())
                }
            },
        }
    }

    /// A conditional jump to one of two places.
    fn choose(&mut self, code: u16, operand: u32, holds: usize, else_: usize) -> usize {
        let holds = self.near(holds);
        let else_ = self.near(else_);
        let distance = |place: usize| (self.reversed.len() - 1 - place) as u8;
        let jump = Parts { code, operand, if_true: distance(holds), if_false: distance(else_) };
        self.push(jump);
        self.last()
    }

    /// The place, or a bridge to it if it is out of reach.
    fn near(&mut self, place: usize) -> usize {
        if self.reversed.len() - place < FAR { place } else { self.bridge(place) }
    }

    /// Makes the place what comes next.
    fn adjacent(&mut self, place: usize) -> usize {
        if place == self.last() { place } else { self.bridge(place) }
    }

    fn bridge(&mut self, place: usize) -> usize {
        self.push(Parts::new(JUMP, (self.reversed.len() - 1 - place) as u32));
        self.last()
    }

    fn push(&mut self, instruction: Parts) {
        self.reversed.push(instruction);
    }

    fn last(&self) -> usize {
        self.reversed.len() - 1
    }

    fn finish(self) -> Vec<Instruction> {
        self.reversed.into_iter().rev().map(Parts::join).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OTHERS: u32 = 0;

    /// Runs a program without arguments.
    fn run(program: &[Instruction], architecture: u32, number: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let instruction = Parts::of(program[at]);
            let holds = match instruction.code {
                LOAD => {
                    value = if instruction.operand == NUMBER { number } else { architecture };
                    false
                }
                RETURN => return instruction.operand,
                JUMP_IF_EQUAL => value == instruction.operand,
                JUMP_IF_AT_LEAST => value >= instruction.operand,
                _ => false,
            };
            at += 1 + match instruction.code {
                JUMP => instruction.operand as usize,
                _ if instruction.is_conditional() => {
                    usize::from(if holds { instruction.if_true } else { instruction.if_false })
                }
                _ => 0,
            };
        }
    }

    #[test]
    fn ranges_can_be_given_another_verdict() {
        let [one, two] = [Verdict::Return(1), Verdict::Return(2)];
        let mut verdicts = Verdicts(vec![(0, one)]);
        verdicts.set(5, 6, two);
        assert_eq!(verdicts.0, [(0, one), (5, two), (7, one)]);
        verdicts.set(7, u32::MAX, two);
        assert_eq!(verdicts.0, [(0, one), (5, two)]);
        verdicts.set(0, 4, two);
        assert_eq!(verdicts.0, [(0, two)]);
        verdicts.set(3, 3, one);
        assert_eq!(verdicts.0, [(0, two), (3, one), (4, two)]);
    }

    #[test]
    fn a_program_of_another_kind_is_refused() {
        for code in [0x04, 0x54, 0x16, 0x61, JUMP_IF_MORE] {
            assert!(survey(&[Parts::new(code, 1).join(), Parts::new(RETURN, 1).join()], None).is_err());
        }
        assert!(survey(&[], None).is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_says_the_same(
            verdicts in proptest::collection::vec(proptest::collection::btree_map(1_u32..3000, 1_u32..5, 0..900), 1..4),
        ) {
            let known: Vec<(u32, Verdicts)> = verdicts.iter().enumerate().map(|(index, map)| {
                let ranges = map.iter().map(|(start, action)| (*start, Verdict::Return(*action)));
                let all = std::iter::once((0, Verdict::Return(9))).chain(ranges).collect();
                (100 + index as u32, Verdicts::sorted(all))
            }).collect();
            let program = write(&[], &known, OTHERS).unwrap();
            for (architecture, expected) in &known {
                prop_assert_eq!(&survey(&program, Some(*architecture)).unwrap(), expected);
                for number in (0..3001).step_by(7).chain([u32::MAX]) {
                    prop_assert_eq!(Verdict::Return(run(&program, *architecture, number)), expected.at(number));
                }
            }
            prop_assert_eq!(run(&program, 7, 5), OTHERS);
        }
    }
}
