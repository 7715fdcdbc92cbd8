//! Requests the metrics of one task, and limits the time and the size of the answer.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use unisono_config::HostPort;
use unisono_metrics::text::Exposition;

/// The time limit of a request. A task that works normally answers within milliseconds.
const PATIENCE: Duration = Duration::from_millis(800);
/// The maximum size of an answer in bytes. The metrics of a cluster with thousands of tasks are
/// smaller.
const MAX_BYTES: u64 = 8 << 20;

/// Returns the metrics of a task, or the reason why there are no metrics.
pub(super) async fn fetch(address: HostPort) -> Result<Exposition, String> {
    let answer = match timeout(PATIENCE, ask(&address)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Err("nobody listens there".to_owned());
        }
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {PATIENCE:?}")),
    };
    let answer = String::from_utf8(answer).map_err(|_| "the answer is no text".to_owned())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no body")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!("the answer is {status}, so these are no metrics of a task"));
    }
    Exposition::parse(body).map_err(|error| error.to_string())
}

async fn ask(address: &HostPort) -> std::io::Result<Vec<u8>> {
    let (host, port) = address.to_lookup();
    let mut stream = TcpStream::connect((host.as_str(), port)).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}
