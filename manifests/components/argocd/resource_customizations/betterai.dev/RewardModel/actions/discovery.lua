-- Offers what the operator would carry out now (docs/rollouts.md, Commands). It has the last word: its
-- answer is in status.lastCommand.
local status = obj.status or {}
local stalled, paused = nil, nil
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" and condition.type == "Stalled" then
    stalled = condition.reason
  elseif condition.status == "True" and condition.type == "Paused" then
    paused = condition.reason
  end
end

-- The last rollout stays in the status, without a step.
local rollout = status.rollout or {}
local step = rollout.step or {}
local unknown = stalled == "UnknownState"
local leaving = step.kind == "Retreat" or step.kind == "RollBack"
local moving = step.kind ~= nil and not leaving and not unknown
local steps = { SetWeight = true, Pause = true, Shadow = true, Gate = true }
local stopped = rollout.pauseReasons ~= nil
-- A gate that had no verdict in its time, or no data.
local gated = paused == "InconclusiveGate" or paused == "MetricsUnavailable"
local endless = step.kind == "Pause" and (rollout.steps or {})[step.index] == "Pause"
-- What was read or tried, and failed. The rest goes on when the cause is gone.
local retried = {
  SourceUnreachable = true,
  VolumeUnavailable = true,
  DigestMismatch = true,
  UnsupportedFormat = true,
  ModelInvalid = true,
  LoadFailed = true,
  DriverMissing = true,
  InsufficientCapacity = true,
  GateFailed = true,
  CutOff = true,
  DeadlineExceeded = true,
  AbortedByUser = true,
}

local able = {
  approve = moving and step.kind == "Approval",
  promote = moving and step.kind ~= "Promote",
  abort = moving or unknown,
  rollback = step.kind == nil and not unknown and status.stable ~= nil and status.previous ~= nil,
  retry = not moving and not leaving and retried[stalled] == true,
  pause = moving and not stopped and not endless and step.kind ~= "Approval" and not gated,
  resume = moving and (stopped or step.kind == "Pause" or gated),
  ["skip-step"] = moving and steps[step.kind] == true,
}

local actions = {}
for name, enabled in pairs(able) do
  actions[name] = { disabled = not enabled }
end
return actions
