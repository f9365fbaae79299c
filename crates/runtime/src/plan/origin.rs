//! What the kernel takes the program for, and where its memory comes from: personality and memory policy.
//!
//! Both belong to the process that sets them, cannot be set from outside, and are inherited by what it executes: the child
//! sets them itself. exec sets them again, for its process is no child of the container's first.

use failure::{Error, Result};
use oci_spec::runtime::{Linux, LinuxMemoryPolicy, LinuxPersonalityDomain, MemoryPolicyFlagType, MemoryPolicyModeType};

use super::action::Action;
use super::scheduling::bits;

/// More nodes than any kernel is built for.
const MOST_NODES: u32 = 1024;

/// The steps that set them.
pub(super) fn read(linux: &Linux) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    if let Some(wanted) = linux.personality() {
        if let Some(flag) = wanted.flags().iter().flatten().next() {
            return Err(Error::unsupported(format!("the personality flag `{flag}` is not known; leave it out")));
        }
        let (name, personality) = match wanted.domain() {
            LinuxPersonalityDomain::PerLinux => ("LINUX", 0),
            LinuxPersonalityDomain::PerLinux32 => ("LINUX32", 8),
        };
        actions.push(Action::SetPersonality { name, personality });
    }
    if let Some(wanted) = linux.memory_policy() {
        actions.push(memory_policy(wanted)?);
    }
    Ok(actions)
}

fn memory_policy(wanted: &LinuxMemoryPolicy) -> Result<Action> {
    let mode = wanted.mode();
    let refuse = |reason: String| Error::invalid(format!("the memory policy {mode} {reason}"));
    let text = wanted.nodes().as_deref().unwrap_or_default();
    let nodes = bits(text, MOST_NODES).ok_or_else(|| refuse(format!("has `{text}`, which is no list of nodes")))?;
    let nodes = if nodes.iter().all(|word| *word == 0) { Vec::new() } else { nodes };
    let without = matches!(mode, MemoryPolicyModeType::MpolDefault | MemoryPolicyModeType::MpolLocal);
    if without && !nodes.is_empty() {
        return Err(refuse("takes no nodes; leave them out".to_owned()));
    }
    if !without && mode != MemoryPolicyModeType::MpolPreferred && nodes.is_empty() {
        return Err(refuse("needs nodes".to_owned()));
    }
    let flags = wanted.flags().as_deref().unwrap_or_default();
    let has = |flag| flags.contains(&flag);
    if has(MemoryPolicyFlagType::MpolFStaticNodes) && has(MemoryPolicyFlagType::MpolFRelativeNodes) {
        return Err(refuse("cannot have both MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES".to_owned()));
    }
    if nodes.is_empty() && !flags.is_empty() {
        return Err(refuse("takes flags only with nodes".to_owned()));
    }
    let number = flags.iter().fold(mode_number(mode), |number, flag| number | flag_bit(*flag));
    Ok(Action::SetMemoryPolicy { name: format!("{mode} {text}").trim_end().to_owned(), mode: number, nodes })
}

fn mode_number(mode: MemoryPolicyModeType) -> u32 {
    match mode {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    }
}

fn flag_bit(flag: MemoryPolicyFlagType) -> u32 {
    match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(value: Value) -> Result<Action> {
        memory_policy(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn policies_and_nodes_must_fit() {
        for wrong in [
            json!({"mode": "MPOL_DEFAULT", "nodes": "0"}),
            json!({"mode": "MPOL_BIND"}),
            json!({"mode": "MPOL_BIND", "nodes": "0-x"}),
            json!({"mode": "MPOL_BIND", "nodes": "1024"}),
            json!({"mode": "MPOL_LOCAL", "flags": ["MPOL_F_STATIC_NODES"]}),
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
        ] {
            assert!(policy(wrong.clone()).is_err(), "{wrong}");
        }
        let bind = policy(json!({"mode": "MPOL_BIND", "nodes": "0,2", "flags": ["MPOL_F_STATIC_NODES"]})).unwrap();
        let Action::SetMemoryPolicy { mode, nodes, .. } = bind else { panic!("{bind:?}") };
        assert_eq!((mode, nodes[0]), (0x8002, 5));
        assert!(policy(json!({"mode": "MPOL_PREFERRED"})).is_ok());
    }
}
