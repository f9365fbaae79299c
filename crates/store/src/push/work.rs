//! The work of a push: layers are compressed in their order while others are carried already.

use std::collections::VecDeque;

use failure::{Context, Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::parcel::{Item, Parcel};
use super::{Blob, Destination, Form, PushProgress};
use crate::jobs::{Carrier, Compressing, Plain, Step, Told};
use crate::{Staging, Store};

/// The most blobs on their way at once: a connection alone rarely fills a line.
const MOST_CARRIERS: usize = 5;

/// A push at work. Dropped, all its processes are killed.
pub(super) struct Work<'a> {
    store: &'a Store,
    staging: Staging<'a>,
    items: &'a mut Vec<Item>,
    form: Option<Form>,
    progress: &'a mut dyn PushProgress,
    /// Items that can be carried.
    ready: VecDeque<usize>,
    carriers: Vec<(Carrier, Option<usize>)>,
    /// The compressors, and the items that theirs are.
    compressing: Option<(Compressing, Vec<usize>)>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        store: &'a Store,
        staging: Staging<'a>,
        parcel: &'a mut Parcel,
        form: Option<Form>,
        progress: &'a mut dyn PushProgress,
    ) -> Self {
        let items = &mut parcel.items;
        items.iter().filter_map(|item| item.label.as_ref()).for_each(|label| progress.waits(label));
        let ready = (0..items.len()).filter(|at| !items[*at].compress).collect();
        Self { store, staging, items, form, progress, ready, carriers: Vec::new(), compressing: None }
    }

    pub(super) fn run(mut self, destination: &mut dyn Destination) -> Result<()> {
        self.start_compressing()?;
        loop {
            self.give_orders(destination)?;
            let busy = self.carriers.iter().any(|(_, item)| item.is_some());
            if !busy && self.ready.is_empty() && self.compressing.is_none() {
                return Ok(());
            }
            let (frame, reports) = self.wait()?;
            for at in reports {
                self.hear(at)?;
            }
            if frame {
                self.compress()?;
            }
        }
    }

    fn start_compressing(&mut self) -> Result<()> {
        let Some(form) = self.form else { return Ok(()) };
        let wanted: Vec<usize> = (0..self.items.len()).filter(|at| self.items[*at].compress).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut blobs = Vec::with_capacity(wanted.len());
        for at in &wanted {
            let digest = self.items[*at].blob.digest;
            let file = self.store.open_blob(&digest)?;
            let length = file.metadata().with_context(|| format!("look at blob `{digest}`"))?.len();
            blobs.push(Plain { file, length, digest });
        }
        let processes = std::thread::available_parallelism().map_or(1, usize::from);
        let compressing = Compressing::start(blobs, form, processes, self.staging.lease())?;
        self.compressing = Some((compressing, wanted));
        Ok(())
    }

    /// Gives every blob that is ready to a carrier that has none, or to a new one.
    fn give_orders(&mut self, destination: &mut dyn Destination) -> Result<()> {
        while let Some(at) = self.ready.front().copied() {
            let free = match self.carriers.iter().position(|(_, item)| item.is_none()) {
                Some(free) => free,
                None if self.carriers.len() < MOST_CARRIERS => {
                    self.carriers.push((Carrier::start(destination)?, None));
                    self.carriers.len() - 1
                }
                None => return Ok(()),
            };
            self.ready.pop_front();
            let (carrier, item) = &mut self.carriers[free];
            let blob = &self.items[at].blob;
            carrier.order(blob, &self.store.open_blob(&blob.digest)?)?;
            *item = Some(at);
        }
        Ok(())
    }

    /// Waits until something can go on: whether the compressors can, and which carriers.
    fn wait(&self) -> Result<(bool, Vec<usize>)> {
        let busy: Vec<usize> = (0..self.carriers.len()).filter(|at| self.carriers[*at].1.is_some()).collect();
        let reports = busy.iter().map(|at| self.carriers[*at].0.report());
        let frames = self.compressing.iter().map(|(compressing, _)| compressing.next());
        let mut waiting: Vec<PollFd<'_>> =
            reports.chain(frames).map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN)).collect();
        loop {
            match poll(&mut waiting, None) {
                Err(Errno::INTR) => {}
                other => break other.map(drop).context("wait for the pushing processes")?,
            }
        }
        let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
        let frame = self.compressing.is_some() && ready.last() == Some(&true);
        Ok((frame, busy.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(at, _)| at).collect()))
    }

    fn hear(&mut self, at: usize) -> Result<()> {
        let (carrier, item) = &mut self.carriers[at];
        let Some(index) = *item else { return Ok(()) };
        let Item { blob, label, .. } = &self.items[index];
        match carrier.hear().with_context(|| format!("push blob `{}`", blob.digest))? {
            Told::Nothing => {}
            Told::Sent(bytes) => {
                label.iter().for_each(|label| self.progress.sent(label, bytes, blob.size));
            }
            Told::Arrived(arrival) => {
                label.iter().for_each(|label| self.progress.arrived(label, &arrival));
                *item = None;
            }
        }
        Ok(())
    }

    /// Takes the next compressed block, and what is complete with it.
    fn compress(&mut self) -> Result<()> {
        let Some((compressing, wanted)) = &mut self.compressing else { return Ok(()) };
        match compressing.step(&mut self.staging)? {
            Step::Advanced(index, done) => {
                let Item { blob, label, .. } = &self.items[wanted[index]];
                label.iter().for_each(|label| self.progress.compressed(label, done, blob.size));
            }
            Step::Finished(compressed) => {
                let at = wanted[compressed.index];
                let form = self.form.ok_or_else(|| Error::internal("a layer was compressed without a form"))?;
                let item = &mut self.items[at];
                let plain = item.blob.digest;
                self.store.keep_compressed(&plain, form, &compressed)?;
                let blob = Blob { digest: compressed.digest, size: compressed.length };
                *item = Item { blob, plain: Some(plain), compress: false, ..item.clone() };
                self.ready.push_back(at);
            }
        }
        if compressing.is_done() {
            self.compressing = None;
        }
        Ok(())
    }
}
