-- Asks the bodies of a file in turn, for wrk; see outside_clients.py, which says where they are and who asks.

local requests, place = {}, 0

init = function()
  local headers = {
    ["content-type"] = "application/json",
    ["authorization"] = "Bearer " .. os.getenv("ASK_TOKEN"),
  }
  for body in io.lines(os.getenv("ASK_BODIES")) do
    requests[#requests + 1] = wrk.format("POST", wrk.path, headers, body)
  end
end

request = function()
  place = place % #requests + 1
  return requests[place]
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "us": %d, "p50": %d, "p99": %d, "max": %d, "failed": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status + errors.connect + errors.read + errors.timeout
  ))
end
