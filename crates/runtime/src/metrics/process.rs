//! What the system counts for this process (proc(5)).

use super::text::Page;
use causeway_node::Metric;
use std::fs;

/// Clock ticks per second in /proc, which is fixed for programs (USER_HZ).
const TICKS: f64 = 100.0;

/// Adds what can be read; a field that cannot is left out.
pub fn add(page: &mut Page) {
    let mut put = |name, help, counts, value: Option<f64>| {
        if let Some(value) = value {
            page.plain(&Metric { name, help, counts, labels: Vec::new(), value });
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let field = |number: usize| {
        // The second field is the program's name, which may hold anything but ends with the last parenthesis.
        let rest = stat.rsplit_once(')')?.1;
        rest.split_ascii_whitespace().nth(number - 3)?.parse::<f64>().ok()
    };
    let cpu = field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS);
    put("process_cpu_seconds_total", "Processor time, user and system", true, cpu);
    put("process_threads", "Threads", false, field(20));
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let start = boot.zip(field(22)).map(|(boot, since)| boot + since / TICKS);
    put("process_start_time_seconds", "Start, seconds since 1970", false, start);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<f64>().ok().map(|kib| kib * 1024.0)
    };
    put("process_resident_memory_bytes", "Memory in use", false, memory("VmRSS:"));
    put("process_virtual_memory_bytes", "Address space in use", false, memory("VmSize:"));
    let open = fs::read_dir("/proc/self/fd").map(|files| files.count() as f64).ok();
    put("process_open_fds", "Open file descriptors", false, open);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let most = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = most.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
    put("process_max_fds", "File descriptors that may be open", false, most);
}
