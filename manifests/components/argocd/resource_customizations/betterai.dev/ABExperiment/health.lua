-- What Argo CD says of an ABExperiment. The table of states: docs/gitops.md.
-- One that runs is Healthy, so that a test of two weeks keeps nobody waiting.
if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "It is being deleted" }
end

local status = obj.status or {}
local is = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" then
    is[condition.type] = condition
  elseif condition.type == "Ready" then
    is.NotReady = condition
  end
end

-- A status of an older spec, or none, says nothing of this spec.
if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "The operator has not seen this spec yet" }
end
if is.Stalled then
  return { status = "Degraded", message = is.Stalled.reason .. ": " .. is.Stalled.message }
end
if is.Paused then
  return { status = "Suspended", message = is.Paused.reason .. ": " .. is.Paused.message }
end
-- `startAt` lies ahead, or the endpoint's rollout has to end first: nothing of its own is at work.
if is.NotReady and is.NotReady.reason == "NotStarted" then
  return { status = "Suspended", message = is.NotReady.message }
end
if is.Reconciling then
  return { status = "Progressing", message = is.Reconciling.message }
end
if is.Ready then
  return { status = "Healthy", message = is.Ready.message }
end
if is.NotReady then
  return { status = "Progressing", message = is.NotReady.message }
end
return { status = "Progressing", message = "The operator has said nothing of it yet" }
