-- The requests that wrk sends, one case a run:
--
--     wrk -t1 -cN -dTs --latency -s load.lua URL -- CASE QUEUE_URL SEED
--
-- One thread, so the globals below are shared by all connections: a receipt handle that one connection received is
-- deleted by whichever asks next, as by a pool of workers. SEED keeps ids of different runs apart. The last line
-- printed is RESULT and a JSON object; times in it are microseconds.

local body_of = string.rep("x", 200)
local case, queue, seed, number = "send", "", "0", 0
local handles, first, last, turn = {}, 1, 0, 0

-- What the run counted, read by done().
received, deleted, empty = 0, 0, 0

local function headers(operation)
  return {
    ["Content-Type"] = "application/x-amz-json-1.0",
    ["X-Amz-Target"] = "AmazonSQS." .. operation,
    ["X-Amz-Date"] = "20260101T000000Z",
    ["Authorization"] = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, "
      .. "SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=" .. string.rep("0", 64),
  }
end

local heads = {}
for _, operation in ipairs({ "SendMessage", "SendMessageBatch", "ReceiveMessage", "DeleteMessage", "DeleteMessageBatch" }) do
  heads[operation] = headers(operation)
end

local function call(operation, rest)
  return wrk.format("POST", "/", heads[operation], '{"QueueUrl":"' .. queue .. '",' .. rest .. "}")
end

local function receive(most)
  return call("ReceiveMessage", '"MaxNumberOfMessages":' .. most)
end

local function take_handle()
  local handle = handles[first]
  handles[first] = nil
  first = first + 1
  return handle
end

local function waiting()
  return last - first + 1
end

local function delete_batch(most)
  local entries = {}
  for at = 1, most do
    entries[at] = '{"Id":"' .. at .. '","ReceiptHandle":"' .. take_handle() .. '"}'
  end
  deleted = deleted + most
  return call("DeleteMessageBatch", '"Entries":[' .. table.concat(entries, ",") .. "]")
end

local function keep_handles(status, _, body)
  if status ~= 200 then
    return
  end
  local found = 0
  for handle in string.gmatch(body, '"ReceiptHandle":"([^"]+)"') do
    last = last + 1
    handles[last] = handle
    found = found + 1
  end
  received = received + found
  if body == "{}" then
    empty = empty + 1
  end
end

local function fifo_ids()
  number = number + 1
  return '"MessageGroupId":"group-' .. number % 1000 .. '","MessageDeduplicationId":"' .. seed .. "-" .. number .. '",'
end

local cases = {}

-- One SendMessage of 200 bytes a request.
function cases.send()
  local text = call("SendMessage", '"MessageBody":"' .. body_of .. '"')
  request = function()
    return text
  end
end

-- SendMessageBatch of ten.
function cases.batch()
  local entries = {}
  for at = 1, 10 do
    entries[at] = '{"Id":"' .. at .. '","MessageBody":"' .. body_of .. '"}'
  end
  local text = call("SendMessageBatch", '"Entries":[' .. table.concat(entries, ",") .. "]")
  request = function()
    return text
  end
end

-- ReceiveMessage of ten, and DeleteMessageBatch of ten as soon as there are so many.
function cases.drain()
  local text = receive(10)
  request = function()
    if waiting() >= 10 then
      return delete_batch(10)
    end
    return text
  end
  response = keep_handles
end

-- SendMessage to a FIFO queue, in turn to each of 1,000 groups.
cases["fifo-send"] = function()
  request = function()
    return call("SendMessage", fifo_ids() .. '"MessageBody":"' .. body_of .. '"')
  end
end

-- SendMessageBatch of ten to a FIFO queue, each to another group.
cases["fifo-batch"] = function()
  request = function()
    local entries = {}
    for at = 1, 10 do
      entries[at] = '{"Id":"' .. at .. '",' .. fifo_ids() .. '"MessageBody":"' .. body_of .. '"}'
    end
    return call("SendMessageBatch", '"Entries":[' .. table.concat(entries, ",") .. "]")
  end
end

cases["fifo-drain"] = cases.drain

-- A send, a receive of one and a delete of it, in turn.
function cases.cycle()
  local send, one = call("SendMessage", '"MessageBody":"' .. body_of .. '"'), receive(1)
  request = function()
    if waiting() > 0 then
      deleted = deleted + 1
      return call("DeleteMessage", '"ReceiptHandle":"' .. take_handle() .. '"')
    end
    turn = turn + 1
    return turn % 2 == 1 and send or one
  end
  response = keep_handles
end

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  case, queue, seed = arguments[1], arguments[2], arguments[3] or "0"
  cases[case]()
end

function done(summary, latency, _)
  local thread = threads[1]
  local errors = summary.errors
  print(string.format(
    'RESULT {"requests":%d,"us":%d,"p50":%d,"p99":%d,"max":%d,"refused":%d,"broken":%d,"received":%d,"deleted":%d,"empty":%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    thread:get("received"), thread:get("deleted"), thread:get("empty")
  ))
end
