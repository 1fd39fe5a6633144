-- Offers what the operator would carry out now (docs/experiments.md). It has the last word: its answer
-- is in status.lastCommand.
local status = obj.status or {}
local stalled = nil
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" and condition.type == "Stalled" then
    stalled = condition.reason
  end
end

local decision = status.decision
-- A spec that cannot be read, or a status of another version, has to be repaired first.
local readable = status.phase ~= nil and stalled ~= "InvalidSpec" and stalled ~= "UnknownState"
local waits = decision ~= nil and decision.approvedAt == nil and decision.appliedAt == nil
-- Once approved, the endpoint's rollout is what can be aborted, unless that was given up.
local given_up = decision ~= nil and decision.appliedAt == nil and stalled == "PromotionFailed"

local able = {
  approve = readable and waits,
  abort = readable and (decision == nil or waits or given_up),
  pause = readable and decision == nil and status.paused ~= true,
  resume = readable and status.paused == true,
}

local actions = {}
for name, enabled in pairs(able) do
  actions[name] = { disabled = not enabled }
end
return actions
