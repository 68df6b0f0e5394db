//! containerd's task service, version 2: requests to containers, and answers.
//!
//! What changes something runs as a task of its own: a connection that breaks (containerd is restarted) must not leave it half done.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::{Message as _, MessageField, well_known_types::any::Any};
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::shim_async::Task;
use containerd_shim_protos::ttrpc::{self, r#async::TtrpcContext};
use tokio::sync::Notify;

use super::container::{Common, Container};
use super::error::ShimError;
use super::events::timestamp;
use super::process::Phase;
use super::reaper::lock;
use super::stdio::Names;

type Answer<T> = ttrpc::Result<T>;

/// All containers of a shim.
#[derive(Clone, Debug)]
pub(super) struct Service {
    common: Common,
    containers: Arc<Mutex<HashMap<String, Option<Arc<Container>>>>>,
    /// Rings when one that was being made is there, or failed.
    made: Arc<Notify>,
    done: Arc<Notify>,
}

impl Service {
    /// None yet. `done` is notified when containerd has no more use for the shim.
    pub(super) fn new(common: Common, done: Arc<Notify>) -> Self {
        Self { common, containers: Arc::default(), made: Arc::default(), done }
    }

    /// Whether there is no container.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.containers).is_empty()
    }

    /// One that is being made is waited for: a containerd that was restarted meanwhile would else take it for one that never came
    /// to be, and forget it.
    async fn container(&self, id: &str) -> Result<Arc<Container>, ShimError> {
        let mut made = std::pin::pin!(self.made.notified());
        loop {
            made.as_mut().enable();
            let found = lock(&self.containers).get(id).cloned();
            match found {
                Some(Some(container)) => return Ok(container),
                Some(None) => made.as_mut().await,
                None => return Err(ShimError::NotFound(format!("container {id}"))),
            }
            made.set(self.made.notified());
        }
    }

    async fn make(&self, request: api::CreateTaskRequest) -> Result<u32, ShimError> {
        let id = request.id.clone();
        if lock(&self.containers).contains_key(&id) {
            return Err(ShimError::Exists(format!("container {id}")));
        }
        // The name is taken from now on.
        lock(&self.containers).insert(id.clone(), None);
        let made = Container::create(self.common.clone(), &request).await;
        let pid = made.map(|container| {
            let pid = container.init().pid();
            lock(&self.containers).insert(id.clone(), Some(container));
            pid
        });
        if pid.is_err() {
            lock(&self.containers).remove(&id);
        }
        self.made.notify_waiters();
        pid
    }
}

/// Runs it to its end, whatever becomes of the request.
async fn whole<T: Send + 'static>(work: impl Future<Output = Result<T, ShimError>> + Send + 'static) -> Answer<T> {
    match tokio::spawn(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ShimError::Io { doing: "answering".to_owned(), source: std::io::Error::other("a panic") }.into()),
    }
}

fn empty() -> api::Empty {
    api::Empty::default()
}

#[async_trait]
impl Task for Service {
    async fn create(&self, _: &TtrpcContext, request: api::CreateTaskRequest) -> Answer<api::CreateTaskResponse> {
        let this = self.clone();
        let pid = whole(async move { this.make(request).await }).await?;
        Ok(api::CreateTaskResponse { pid, ..Default::default() })
    }

    async fn start(&self, _: &TtrpcContext, request: api::StartRequest) -> Answer<api::StartResponse> {
        let container = self.container(&request.id).await?;
        let pid = whole(async move { container.start(&request.exec_id).await }).await?;
        Ok(api::StartResponse { pid, ..Default::default() })
    }

    async fn delete(&self, _: &TtrpcContext, request: api::DeleteRequest) -> Answer<api::DeleteResponse> {
        let (this, container) = (self.clone(), self.container(&request.id).await?);
        let (pid, exit) = whole(async move {
            let deleted = container.delete(&request.exec_id).await?;
            if request.exec_id.is_empty() {
                lock(&this.containers).remove(&request.id);
            }
            Ok(deleted)
        })
        .await?;
        let exited_at = MessageField::some(timestamp(exit.at));
        Ok(api::DeleteResponse { pid, exit_status: exit.status, exited_at, ..Default::default() })
    }

    async fn state(&self, _: &TtrpcContext, request: api::StateRequest) -> Answer<api::StateResponse> {
        let container = self.container(&request.id).await?;
        let process = container.process(&request.exec_id)?;
        let phase = process.phase();
        let status = match phase {
            Phase::Created => api::Status::CREATED,
            Phase::Running if process.exec.is_empty() && container.is_paused() => api::Status::PAUSED,
            Phase::Running => api::Status::RUNNING,
            Phase::Stopped(_) => api::Status::STOPPED,
        };
        let mut state = api::StateResponse {
            id: request.id,
            bundle: container.bundle().display().to_string(),
            pid: process.pid(),
            status: status.into(),
            stdin: process.names.stdin.clone(),
            stdout: process.names.stdout.clone(),
            stderr: process.names.stderr.clone(),
            terminal: process.names.terminal,
            exec_id: request.exec_id,
            ..Default::default()
        };
        if let Phase::Stopped(exit) = phase {
            state.exit_status = exit.status;
            state.exited_at = MessageField::some(timestamp(exit.at));
        }
        Ok(state)
    }

    async fn pids(&self, _: &TtrpcContext, request: api::PidsRequest) -> Answer<api::PidsResponse> {
        let details = |exec_id: String| {
            let details = ProcessDetails { exec_id, ..Default::default() };
            let value = details.write_to_bytes().unwrap_or_default();
            Any { type_url: "containerd.runc.v1.ProcessDetails".to_owned(), value, ..Default::default() }
        };
        let processes = self.container(&request.id).await?.pids().into_iter().map(|(pid, exec)| {
            let info = exec.map(details).map_or_else(MessageField::none, MessageField::some);
            api::ProcessInfo { pid, info, ..Default::default() }
        });
        Ok(api::PidsResponse { processes: processes.collect(), ..Default::default() })
    }

    async fn pause(&self, _: &TtrpcContext, request: api::PauseRequest) -> Answer<api::Empty> {
        let container = self.container(&request.id).await?;
        whole(async move { container.pause(true).await }).await.map(|()| empty())
    }

    async fn resume(&self, _: &TtrpcContext, request: api::ResumeRequest) -> Answer<api::Empty> {
        let container = self.container(&request.id).await?;
        whole(async move { container.pause(false).await }).await.map(|()| empty())
    }

    async fn checkpoint(&self, _: &TtrpcContext, _: api::CheckpointTaskRequest) -> Answer<api::Empty> {
        Err(ShimError::Unsupported("checkpoint: a sandbox can't be saved to a file".to_owned()).into())
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> Answer<api::Empty> {
        let container = self.container(&request.id).await?;
        whole(async move { container.kill(&request.exec_id, request.signal, request.all).await })
            .await
            .map(|()| empty())
    }

    async fn exec(&self, _: &TtrpcContext, request: api::ExecProcessRequest) -> Answer<api::Empty> {
        let names =
            Names { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, terminal: request.terminal };
        let spec = request.spec.into_option().unwrap_or_default().value;
        self.container(&request.id).await?.exec(&request.exec_id, names, spec)?;
        Ok(empty())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: api::ResizePtyRequest) -> Answer<api::Empty> {
        self.container(&request.id).await?.process(&request.exec_id)?.resize(request.height, request.width)?;
        Ok(empty())
    }

    async fn close_io(&self, _: &TtrpcContext, request: api::CloseIORequest) -> Answer<api::Empty> {
        let process = self.container(&request.id).await?.process(&request.exec_id)?;
        if request.stdin {
            process.close_input();
        }
        Ok(empty())
    }

    async fn update(&self, _: &TtrpcContext, request: api::UpdateTaskRequest) -> Answer<api::Empty> {
        let container = self.container(&request.id).await?;
        let resources = request.resources.into_option().unwrap_or_default().value;
        whole(async move { container.update(&resources).await }).await.map(|()| empty())
    }

    async fn wait(&self, _: &TtrpcContext, request: api::WaitRequest) -> Answer<api::WaitResponse> {
        let process = self.container(&request.id).await?.process(&request.exec_id)?;
        let exit = process.wait().await;
        let exited_at = MessageField::some(timestamp(exit.at));
        Ok(api::WaitResponse { exit_status: exit.status, exited_at, ..Default::default() })
    }

    async fn stats(&self, _: &TtrpcContext, request: api::StatsRequest) -> Answer<api::StatsResponse> {
        let stats = MessageField::some(self.container(&request.id).await?.metrics()?);
        Ok(api::StatsResponse { stats, ..Default::default() })
    }

    async fn connect(&self, _: &TtrpcContext, request: api::ConnectRequest) -> Answer<api::ConnectResponse> {
        let task_pid = self.container(&request.id).await.map_or(0, |container| container.init().pid());
        Ok(api::ConnectResponse { shim_pid: std::process::id(), task_pid, ..Default::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> Answer<api::Empty> {
        // Others of the pod may still be here.
        if self.is_empty() {
            self.done.notify_one();
        }
        Ok(empty())
    }
}
