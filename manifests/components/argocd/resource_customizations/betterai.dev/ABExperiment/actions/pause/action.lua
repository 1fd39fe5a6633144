local os = require("os")
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["betterai.dev/command"] = "pause/" .. os.time()
return obj
