//! What the cloned child does: walk a plan, report, exec. No allocation, no locks, no unwinding.
#![no_std]
