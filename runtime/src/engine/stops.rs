//! Stops: what a wait says of a task and what is done about it.

use super::{
    Column, Engine, procfs,
    task::{State, Task},
};
use crate::{
    platform::numbers,
    sys::{
        process,
        ptrace::{self, EVENT_STOP, Gone, Resume, SYSCALL_STOP, Status},
    },
};
use nix::errno::Errno;
use rsc_proto::v1::{self, task_event::What};
use std::rc::Rc;

impl Engine {
    /// Takes in everything that tasks have to say. Call it whenever SIGCHLD came.
    pub fn on_children(&mut self) {
        loop {
            match ptrace::wait_any() {
                Ok(Some((tid, Status::Ended(status)))) => self.on_ended(tid, status),
                Ok(Some((tid, Status::Stopped { signal, event }))) => {
                    if self.frozen && event != libc::PTRACE_EVENT_EXIT {
                        self.frozen_stops.push(tid);
                    } else {
                        // A task that was killed meanwhile reports its end by itself.
                        let _ = self.on_stop(tid, signal, event);
                    }
                }
                Ok(None) | Err(Errno::ECHILD) => return,
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    tracing::warn!("cannot wait for tasks: {errno}");
                    return;
                }
            }
        }
    }

    fn on_stop(&mut self, tid: i32, signal: i32, event: i32) -> Result<(), Gone> {
        tracing::trace!(tid, signal, event, state = ?self.tasks.get(&tid).map(|task| &task.state), "stop");
        if !self.tasks.contains_key(&tid) {
            if self.joining.contains_key(&tid) {
                return self.on_join_stop(tid, signal, event);
            }
            if event == libc::PTRACE_EVENT_EXIT {
                // Its parent was killed before its own event: nobody will ever tell of this child.
                self.embryos.remove(&tid);
                return ptrace::resume(tid, Resume::Continue, 0);
            }
            self.embryos.insert(tid, signal);
            return Ok(());
        }
        match event {
            libc::PTRACE_EVENT_SECCOMP => self.on_trap(tid),
            libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => self.on_cloned(tid, event),
            libc::PTRACE_EVENT_EXEC => self.on_exec(tid),
            libc::PTRACE_EVENT_EXIT => self.on_exiting(tid),
            EVENT_STOP => match signal {
                libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                    if let Some(task) = self.tasks.get_mut(&tid) {
                        task.group_stopped = true;
                    }
                    ptrace::resume(tid, Resume::Listen, 0)
                }
                _ => self.on_interrupted(tid),
            },
            0 if signal == SYSCALL_STOP => self.on_call_exit(tid),
            0 => self.on_delivery(tid, signal),
            _ => ptrace::resume(tid, Resume::Continue, 0),
        }
    }

    /// Resumes a task; one that has gone is no error.
    pub(super) fn resume(&mut self, tid: i32, how: Resume, signal: i32) {
        let _ = ptrace::resume(tid, how, signal);
    }

    pub(super) fn set_state(&mut self, tid: i32, state: State) {
        if let Some(task) = self.tasks.get_mut(&tid) {
            task.state = state;
        }
    }

    /// A stop at a call that is not native.
    fn on_trap(&mut self, tid: i32) -> Result<(), Gone> {
        let regs = ptrace::registers(tid)?;
        let nr = regs.orig_rax as u32;
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(()) };
        match std::mem::replace(&mut task.state, State::Running) {
            // The park itself came again, after a signal that does nothing, a stop or the freezer.
            State::Parked { asked } if matches!(nr, numbers::PAUSE | numbers::PPOLL) => {
                if self.has_answer(tid) {
                    self.set_state(tid, State::Trapped);
                    self.apply_trapped(tid)
                } else {
                    self.counters.count(Column::Park, nr);
                    self.set_state(tid, State::Parked { asked });
                    ptrace::resume(tid, Resume::Continue, 0)
                }
            }
            State::Reissued => {
                task.state = State::Trapped;
                self.apply_trapped(tid)
            }
            State::Mapping(mapping) => self.map_trapped(tid, mapping, nr),
            State::Loading(loading) => self.loading_trapped(tid, loading, &regs),
            State::Cleaning(cleaning) if nr == numbers::CLOSE_RANGE => {
                self.counters.count(Column::Own, nr);
                task.state = State::Cleaning(cleaning);
                ptrace::resume(tid, Resume::ToExit, 0)
            }
            _ => {
                self.abandon_call(tid);
                self.new_trap(tid, regs)
            }
        }
    }

    /// `PTRACE_EVENT_STOP`: a child's first stop, an answer to `PTRACE_INTERRUPT`, or the end of a group stop.
    fn on_interrupted(&mut self, tid: i32) -> Result<(), Gone> {
        let answered = self.has_answer(tid);
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(()) };
        task.group_stopped = false;
        match task.state {
            State::New => self.begin_child(tid),
            State::Leaving | State::Parked { .. } if answered => self.apply_stopped(tid, 0),
            State::Leaving => self.park_left(tid),
            State::Parked { .. } => {
                // The kernel restarts the park.
                task.state = State::Parked { asked: false };
                ptrace::resume(tid, Resume::Continue, 0)
            }
            _ => ptrace::resume(tid, Resume::Continue, 0),
        }
    }

    /// The end of a call that was resumed for it.
    fn on_call_exit(&mut self, tid: i32) -> Result<(), Gone> {
        let regs = ptrace::registers(tid)?;
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(()) };
        let name = task.name;
        match std::mem::replace(&mut task.state, State::Running) {
            State::Cleaning(cleaning) => self.cleaned(tid, &cleaning),
            State::Native { report: Some((nr, args)), .. } => {
                let result = v1::NativeResult { nr, result: regs.rax as i64, args: args.to_vec() };
                self.event(name, 0, What::NativeResult(result));
                ptrace::resume(tid, Resume::Continue, 0)
            }
            State::Mapping(mapping) => self.map_exited(tid, mapping, &regs),
            State::Executing(plan) => self.exec_refused(tid, &plan, &regs),
            state => {
                task.state = state;
                ptrace::resume(tid, Resume::Continue, 0)
            }
        }
    }

    /// A child was made; it does not run before the sentry is told.
    fn on_cloned(&mut self, tid: i32, event: i32) -> Result<(), Gone> {
        let child = i32::try_from(ptrace::event_message(tid)?).unwrap_or(0);
        let regs = ptrace::registers(tid)?;
        let flags = match (event, regs.orig_rax as u32) {
            (_, numbers::CLONE) => regs.rdi,
            (libc::PTRACE_EVENT_VFORK, _) => (libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD) as u64,
            _ => libc::SIGCHLD as u64,
        };
        let Some(parent) = self.tasks.get(&tid) else { return Ok(()) };
        let (parent_name, parent_tgid, parent_group) = (parent.name, parent.tgid, parent.group);
        let listener = Rc::clone(&parent.listener);
        let (how, mappings) = match parent.state {
            State::Native { report: Some(_), mappings } => (Resume::ToExit, Some(mappings)),
            State::Native { report: None, mappings } => (Resume::Continue, Some(mappings)),
            _ => (Resume::Continue, None),
        };
        let own_files = flags & libc::CLONE_FILES as u64 == 0;
        if own_files && mappings.is_none_or(|mappings| self.may_have_copied(mappings)) {
            self.unclean.insert(child);
        }
        if let Some(name) = procfs::name_of(child) {
            let thread = flags & libc::CLONE_THREAD as u64 != 0;
            let (tgid, group) = if thread { (parent_tgid, parent_group) } else { (child, name) };
            self.tasks.insert(child, Task::new(child, tgid, name, group, State::New, listener));
            self.names.insert(name, child);
            self.event(parent_name, 0, What::Cloned(v1::Cloned { child: name, flags, child_tgid: group }));
            if let Some(signal) = self.embryos.remove(&child) {
                // One that was killed meanwhile reports its end by itself.
                let _ = self.on_stop(child, signal, EVENT_STOP);
            }
        } else {
            self.embryos.remove(&child);
        }
        ptrace::resume(tid, how, 0)
    }

    /// A child's first stop, after its parent's event.
    fn begin_child(&mut self, tid: i32) -> Result<(), Gone> {
        self.set_state(tid, State::Running);
        if self.unclean.remove(&tid) { self.clean(tid) } else { ptrace::resume(tid, Resume::Continue, 0) }
    }

    /// The exit stop: the sentry hears of it before anyone in the sandbox can.
    fn on_exiting(&mut self, tid: i32) -> Result<(), Gone> {
        let status = ptrace::event_message(tid)? as i32;
        self.drop_call(tid);
        let last = self.last_of_group(tid);
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(()) };
        if let State::Mapping(mapping) = std::mem::replace(&mut task.state, State::Exiting) {
            self.slots.insert(mapping.slot);
        }
        if std::mem::replace(&mut task.exit_told, true) {
            return ptrace::resume(tid, Resume::Continue, 0);
        }
        let name = task.name;
        let id = self.next_event;
        self.next_event += 1;
        self.event(name, id, What::Exited(v1::Exited { status, last }));
        if self.released {
            return ptrace::resume(tid, Resume::Continue, 0);
        }
        self.exits.insert(id, tid);
        Ok(())
    }

    fn last_of_group(&self, tid: i32) -> bool {
        let Some(task) = self.tasks.get(&tid) else { return true };
        !self.tasks.values().any(|other| other.tgid == task.tgid && other.tid != tid && !other.exit_told)
    }

    /// The sentry has taken note of an event.
    pub fn on_event_done(&mut self, id: u64) {
        if let Some(tid) = self.exits.remove(&id) {
            self.resume(tid, Resume::Continue, 0);
        }
    }

    /// A task, or a child of the supervisor that is none, has ended and is reaped.
    fn on_ended(&mut self, tid: i32, status: i32) {
        if self.embryos.remove(&tid).is_some() {
            return;
        }
        if self.joining.remove(&tid).is_some() {
            self.observer.root_ended(tid);
            return;
        }
        if !self.tasks.contains_key(&tid) {
            self.observer.child_ended(tid, status);
            return;
        }
        self.drop_call(tid);
        let last = self.last_of_group(tid);
        self.exits.retain(|_, held| *held != tid);
        self.put_off.retain(|(task, _), _| *task != tid);
        self.unclean.remove(&tid);
        let Some(task) = self.tasks.remove(&tid) else { return };
        if let State::Mapping(mapping) = &task.state {
            self.slots.insert(mapping.slot);
        }
        if self.names.get(&task.name) == Some(&tid) {
            self.names.remove(&task.name);
        }
        if !task.exit_told {
            self.event(task.name, 0, What::Exited(v1::Exited { status, last }));
        }
        self.starting.remove(&tid);
        if tid == self.init {
            self.ended = Some(status);
        } else if self.roots.remove(&tid) {
            self.observer.root_ended(tid);
        }
    }

    /// The kernel has executed the loader.
    fn on_exec(&mut self, tid: i32) -> Result<(), Gone> {
        let former = i32::try_from(ptrace::event_message(tid)?).unwrap_or(tid);
        let mut former_name = None;
        if former != tid
            && let Some(moved) = self.tasks.remove(&former)
        {
            // Another thread than the leader: it has taken the leader's place and name, the leader is gone unseen.
            self.names.remove(&moved.name);
            former_name = Some(moved.name);
            if let Some(leader) = self.tasks.get_mut(&tid) {
                leader.state = moved.state;
                leader.call = moved.call;
                leader.exit_told = false;
                leader.group_stopped = false;
                leader.restarts = None;
            }
        }
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(()) };
        let name = task.name;
        let State::Executing(plan) = std::mem::replace(&mut task.state, State::Running) else {
            tracing::error!("task {tid} executed something by itself");
            let _ = process::kill(tid, libc::SIGKILL);
            return Ok(());
        };
        self.event(name, 0, What::Execed(v1::Execed { former_tid: former_name.unwrap_or(name) }));
        if self.starting.remove(&tid).is_some() {
            self.observer.started(tid);
        }
        self.load(tid, &plan)
    }
}
