//! What happens to tasks, told to containerd in order. containerd may be away for a while: then it is tried again, a bounded
//! number of times, and what it misses it learns by asking when it is back.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use containerd_shim_protos::protobuf::{MessageDyn, MessageField, well_known_types::any::Any};
use containerd_shim_protos::shim::{event::Envelope, events::ForwardRequest};
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::{protobuf::well_known_types::timestamp::Timestamp, ttrpc::context};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Events that wait, at most.
const QUEUE: usize = 4096;
/// Tries for one event.
const TRIES: u32 = 5;
/// An answer comes within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before the second try; longer before each further one.
const PAUSE: Duration = Duration::from_millis(500);

/// The way to containerd.
#[derive(Clone, Debug)]
pub(super) struct Events {
    queue: mpsc::Sender<Envelope>,
    namespace: Arc<str>,
}

impl Events {
    /// Events of `namespace` to the ttrpc socket at `address`. The task ends when all has been told and nobody can tell more.
    pub(super) fn start(address: String, namespace: &str) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let task = tokio::spawn(forward_all(address, waiting));
        (Self { queue, namespace: namespace.into() }, task)
    }

    /// Tells of something.
    pub(super) fn tell(&self, topic: &str, event: &dyn MessageDyn) {
        let Ok(value) = event.write_to_bytes_dyn() else { return };
        let type_url = event.descriptor_dyn().full_name().to_owned();
        let envelope = Envelope {
            timestamp: MessageField::some(timestamp(SystemTime::now())),
            namespace: self.namespace.to_string(),
            topic: topic.to_owned(),
            event: MessageField::some(Any { type_url, value, ..Any::default() }),
            ..Envelope::default()
        };
        if self.queue.try_send(envelope).is_err() {
            tracing::warn!("an event {topic} is lost: too many wait for containerd");
        }
    }
}

/// For messages.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = i32::try_from(since.subsec_nanos()).unwrap_or(0);
    Timestamp { seconds: i64::try_from(since.as_secs()).unwrap_or(0), nanos, ..Timestamp::default() }
}

async fn forward_all(address: String, mut waiting: mpsc::Receiver<Envelope>) {
    let mut client = None;
    while let Some(envelope) = waiting.recv().await {
        let topic = envelope.topic.clone();
        let request = ForwardRequest { envelope: MessageField::some(envelope), ..ForwardRequest::default() };
        for attempt in 1..=TRIES {
            match forward(&address, &mut client, &request).await {
                Ok(()) => break,
                Err(problem) if attempt == TRIES => tracing::warn!("telling containerd of {topic}: {problem}"),
                Err(_) => {
                    client = None;
                    tokio::time::sleep(PAUSE * attempt).await;
                }
            }
        }
    }
}

async fn forward(address: &str, client: &mut Option<EventsClient>, request: &ForwardRequest) -> Result<(), String> {
    let open = match client.take() {
        Some(open) => open,
        None => EventsClient::new(Client::connect(address).await.map_err(|error| error.to_string())?),
    };
    let context = context::with_duration(PATIENCE);
    open.forward(context, request).await.map_err(|error| error.to_string())?;
    *client = Some(open);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::events::task::TaskOOM;

    #[tokio::test]
    async fn named_as_containerd_does() {
        let (queue, mut waiting) = mpsc::channel(1);
        let events = Events { queue, namespace: "n".into() };
        events.tell("/tasks/oom", &TaskOOM { container_id: "c".to_owned(), ..TaskOOM::default() });
        let envelope = waiting.recv().await.unwrap();
        assert_eq!(envelope.event.type_url, "containerd.events.TaskOOM");
        assert_eq!(envelope.event.value, b"\x0a\x01c");
        assert_eq!((envelope.namespace.as_str(), envelope.topic.as_str()), ("n", "/tasks/oom"));
    }
}
