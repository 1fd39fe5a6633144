//! Traces on the wire: a collector that takes what the server sends, and those that do not.

use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// The headers of a client that has a trace and an id of its own.
fn headers() -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-01\r\nx-request-id: mine\r\n")
}

/// Head and body of each request that a collector got.
type Received = Receiver<(String, ExportTraceServiceRequest)>;

/// A collector on a free port.
fn collector() -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
            }
            head.make_ascii_lowercase();
            let length = head.split_once("content-length: ").unwrap().1;
            let length = length.split_once("\r\n").unwrap().0.parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            let _ = sender.send((head, request));
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (endpoint, received)
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|found| found.value.clone()?.value) {
        Some(Attribute::StringValue(text)) => text,
        Some(Attribute::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn spans(resources: &[ResourceSpans]) -> Vec<Span> {
    let scopes = resources.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

/// Tells a server to leave, and waits until it has.
fn leave(mut server: Server) -> Duration {
    let began = Instant::now();
    server.terminate();
    assert!(server.child.wait().unwrap().success());
    began.elapsed()
}

#[test]
fn a_collector_gets_the_span_of_a_request_before_the_server_is_gone() {
    let (endpoint, received) = collector();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=test"),
        // Nothing is sent before the server leaves.
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
    ];
    let server = Server::start_in(&variables, &["--drain-delay", "0s"]);
    let body = r#"{"text":"Hello","metadata":{"run":7}}"#;
    assert_eq!(server.ask("POST", "/predict", &headers(), body).0, 200);
    leave(server);

    let (head, request) = received.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf"),
        "{head}"
    );
    assert!(head.contains("x-tenant: blue"), "{head}");
    let resource = request.resource_spans[0].resource.clone().unwrap();
    assert_eq!(
        text(&resource.attributes, "service.name"),
        "inference-server"
    );
    assert_eq!(text(&resource.attributes, "service.namespace"), "test");
    // The probes that found it ready are no spans.
    let spans = spans(&request.resource_spans);
    let (children, own): (Vec<Span>, Vec<Span>) = spans
        .into_iter()
        .partition(|span| span.kind() == SpanKind::Internal);
    let [span] = own.as_slice() else {
        panic!("{own:?}");
    };
    assert_eq!(
        (span.name.as_str(), span.kind()),
        ("POST /predict", SpanKind::Server)
    );
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    for (name, expected) in [
        ("http.request.method", "POST"),
        ("http.route", "/predict"),
        ("http.response.status_code", "200"),
        ("reward.request.id", "mine"),
        ("reward.metadata", r#"{"run":7}"#),
        ("reward.inputs", "1"),
    ] {
        assert_eq!(text(&span.attributes, name), expected, "{name}");
    }
    let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["tokenise", "queue", "inference"]);
    for child in &children {
        assert_eq!(
            (&child.trace_id, &child.parent_span_id),
            (&span.trace_id, &span.span_id)
        );
        assert!(child.start_time_unix_nano >= span.start_time_unix_nano);
        assert!(child.end_time_unix_nano > child.start_time_unix_nano);
        assert!(child.end_time_unix_nano <= span.end_time_unix_nano);
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn the_log_names_the_trace_of_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (endpoint, _received) = collector();
    let format = ["--log", "api=debug", "--log-format", "json"];
    let flags = ["--otlp-endpoint", &endpoint, "--drain-delay", "0s"];
    let flags = [&format[..], &flags, &["--log-file", log.to_str().unwrap()]];
    let server = Server::start_in(&[], &flags.concat());
    let body = r#"{"text":"Hello"}"#;
    assert_eq!(server.ask("POST", "/predict", &headers(), body).0, 200);
    leave(server);
    let log = std::fs::read_to_string(&log).unwrap();
    let answered = |endpoint: &str| -> Value {
        let endpoint = format!(r#""endpoint":"{endpoint}""#);
        let line = log.lines().find(|line| line.contains(&endpoint));
        serde_json::from_str(line.unwrap()).unwrap()
    };
    assert_eq!(answered("/predict")["trace_id"], TRACE);
    assert_eq!(answered("/health/ready").get("trace_id"), None);
}

#[test]
fn a_dead_collector_costs_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    // One that nobody listens on, and one that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [closed, silent.try_clone().unwrap()].map(|l| l.local_addr().unwrap());
    for address in addresses {
        let endpoint = format!("http://{address}");
        let variables = [
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
        ];
        let flags = ["--otlp-endpoint", &endpoint, "--drain-delay", "0s"];
        let flags = [&flags[..], &["--log-file", log.to_str().unwrap()]].concat();
        let server = Server::start_in(&variables, &flags);
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(server.exchange(&predict("close")), Some(200));
        }
        assert!(began.elapsed() < Duration::from_secs(20));
        let deadline = Instant::now() + Duration::from_secs(20);
        let told = || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.matches("the collector takes no spans").count()
        };
        while told() == 0 {
            assert!(Instant::now() < deadline, "nobody is told");
            assert_eq!(server.exchange(&predict("close")), Some(200));
        }
        assert!(leave(server) < Duration::from_secs(8));
        assert_eq!(told(), 1);
        std::fs::remove_file(&log).unwrap();
    }
}

#[test]
fn a_broken_endpoint_is_refused() {
    let model = demo("tiny-reward-v1");
    let model = model.to_str().unwrap();
    for endpoint in ["collector", "grpc://collector:4317"] {
        let flags = ["serve", "--listen", "127.0.0.1:0", "--model", model];
        let outcome = run(&[&flags[..], &["--otlp-endpoint", endpoint]].concat());
        assert_eq!(outcome.status.code(), Some(1), "{endpoint}");
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(said.contains("--otlp-endpoint"), "{said}");
        assert!(said.contains("write http://HOST:4318"), "{said}");
    }
}
